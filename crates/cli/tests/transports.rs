//! The program over what is not plain TCP.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]
// Other processes have no clock to pause.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Output, Stdio},
};

fn towpath() -> Command {
    Command::new(env!("CARGO_BIN_EXE_towpath"))
}

fn run(args: &[&str]) -> Output {
    towpath().args(args).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn assert_exit(output: &Output, code: i32) {
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "stderr: {err}");
}

/// `towpath serve` with these arguments, killed when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut child = (towpath().arg("serve").args(args))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.strip_prefix("listening on ").expect("the first line").trim_end().to_owned();
        Server { child, url }
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_command_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.sock");
    let url = format!("mcp+unix:{}", path.display());
    let mut server = Server::start(&["--listen", &url, "--mode", "640"]);
    assert_eq!(server.url, url);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);

    let output = run(&["call", &url, "Echo.Echo", "{\"a\":1}"]);
    assert_exit(&output, 0);
    assert_eq!(output.stdout, b"{\"a\":1}\n");
    assert_exit(&run(&["ping", &url, "--count", "1"]), 0);
    assert_exit(&run(&["methods", &url]), 0);
    assert_exit(&run(&["bench", &url, "Echo.Echo", "1", "--duration", "200ms"]), 0);

    let taken = run(&["serve", "--listen", &url]);
    assert_exit(&taken, 1);
    assert!(String::from_utf8_lossy(&taken.stderr).contains("another server listens there"));

    // One that is killed leaves its file, and the next one takes its place.
    server.signal("KILL");
    server.child.wait().unwrap();
    let output = run(&["call", &url, "Echo.Echo"]);
    assert_exit(&output, 3);
    assert!(String::from_utf8_lossy(&output.stderr).contains("has died"));
    let mut server = Server::start(&["--listen", &url]);
    assert_exit(&run(&["ping", &url, "--count", "1"]), 0);
    server.signal("TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(!path.exists());
    for mode in ["8", "1000", "rw"] {
        assert_exit(&run(&["serve", "--listen", &url, "--mode", mode]), 2);
    }
}

/// The commands of the documentation, run in a folder. `None` without openssl.
fn documented_certificates() -> Option<tempfile::TempDir> {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("openssl is missing: the certificates of docs/transports.md are not made, and not used");
        return None;
    }
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/transports.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let (_, rest) = docs.split_once("```sh\n").expect("commands in the documentation");
    let (commands, _) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("sh").args(["-ec", commands]).current_dir(&folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(folder)
}

#[test]
fn tls_with_the_documented_certificates() {
    let Some(folder) = documented_certificates() else { return };
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
    let server = Server::start(&["--listen", "mcps://127.0.0.1:0", "--cert", &cert, "--key", &key]);
    let port = server.url.rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(server.url, format!("mcps://127.0.0.1:{port}"));
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("mcps://{host}:{port}");
        let output = run(&["call", &url, "Echo.Echo", "{\"a\":1}", "--ca", &ca]);
        assert_exit(&output, 0);
        assert_eq!(output.stdout, b"{\"a\":1}\n");
    }
    let url = format!("mcps://localhost:{port}");
    assert_exit(&run(&["ping", &url, "--count", "1", "--ca", &ca]), 0);
    assert_exit(&run(&["methods", &url, "--ca", &ca, "--server-name", "orders"]), 0);
    assert_exit(&run(&["bench", &url, "Echo.Echo", "1", "--duration", "200ms", "--ca", &ca]), 0);

    let plain = format!("mcp://localhost:{port}");
    for (args, code, word) in [
        (
            &["ping", &url, "--ca", &ca, "--server-name", "billing"][..],
            3,
            "is for localhost, orders, 127.0.0.1, not for billing",
        ),
        (&["ping", &url, "--ca", &file("client.pem")], 3, "signed by no CA that is trusted here"),
        (&["ping", &plain], 3, "connect to mcps://"),
        (&["call", &plain, "Echo.Echo"], 3, "connect to mcps://"),
        (&["ping", &url], 2, "needs --ca FILE"),
        (&["ping", &plain, "--ca", &ca], 2, "reached without TLS"),
        (&["ping", &url, "--ca", "/no/such.pem"], 2, "/no/such.pem"),
        (&["ping", &url, "--ca", &ca, "--cert", &cert], 2, "--key"),
        (
            &["ping", &url, "--ca", &ca, "--cert", &cert, "--key", &file("ca.key")],
            2,
            "the client's certificate",
        ),
        (&["serve", "--listen", "mcps://127.0.0.1:0"], 2, "--cert and --key"),
        (&["serve", "--listen", "mcp://127.0.0.1:0", "--cert", &cert, "--key", &key], 2, "write mcps://"),
        (&["serve", "--cert", &cert, "--key", &file("ca.key")], 2, "the server's certificate"),
    ] {
        let output = run(args);
        assert_exit(&output, code);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(word), "{args:?}: {text}");
    }
}

#[test]
fn mutual_tls_and_new_certificates_at_sighup() {
    let Some(folder) = documented_certificates() else { return };
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (file("ca.pem"), file("server.pem"), file("server.key"));
    let mut args = vec!["--listen", "mcps://127.0.0.1:0", "--cert", &cert, "--key", &key, "--client-ca", &ca];
    let server = Server::start(&args);
    let (my_cert, my_key) = (file("client.pem"), file("client.key"));
    let me = ["--ca", &ca, "--cert", &my_cert, "--key", &my_key];
    let call = [&["call", &server.url, "Echo.Echo", "1"][..], &me].concat();
    assert_exit(&run(&call), 0);
    let nobody = run(&["call", &server.url, "Echo.Echo", "1", "--ca", &ca]);
    assert_exit(&nobody, 3);
    let text = String::from_utf8_lossy(&nobody.stderr);
    assert!(text.contains("MCP-E-007") && text.contains("give one, and its key"), "{text}");
    args.push("--client-cert-optional");
    let open = Server::start(&args);
    assert_exit(&run(&["call", &open.url, "Echo.Echo", "1", "--ca", &ca]), 0);

    // A broken file keeps the old one; a good one is used by the next connection.
    let good = std::fs::read(&cert).unwrap();
    std::fs::write(&cert, "nonsense").unwrap();
    server.signal("HUP");
    assert_exit(&run(&call), 0);
    std::fs::write(&cert, good).unwrap();
    let renewed = "printf 'subjectAltName=DNS:elsewhere' > elsewhere.ext && \
                   openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 1 -extfile elsewhere.ext -out server.pem";
    let made = Command::new("sh").args(["-c", renewed]).current_dir(&folder).output().unwrap();
    assert!(made.status.success());
    server.signal("HUP");
    // It is for another name: that is how it can be told from the old one.
    let mut output = run(&call);
    for _ in 0..100 {
        if output.status.code() != Some(0) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        output = run(&call);
    }
    assert_exit(&output, 3);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("is for elsewhere, not for 127.0.0.1"),
        "{output:?}"
    );
}

/// What a tool of another make sees.
#[test]
fn openssl_s_client_is_answered() {
    let Some(folder) = documented_certificates() else { return };
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (cert, key) = (file("server.pem"), file("server.key"));
    let server = Server::start(&["--listen", "mcps://127.0.0.1:0", "--cert", &cert, "--key", &key]);
    let place = server.url.trim_start_matches("mcps://").to_owned();
    let connect = |more: &[&str], send: &[u8]| {
        let ca = file("ca.pem");
        let fixed = ["s_client", "-connect", &place, "-CAfile", &ca, "-verify_return_error", "-quiet"];
        let mut child = (Command::new("openssl").args(fixed).args(more))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        // It may be gone already, which its output tells.
        let _ = input.write_all(send);
        let mut answer = vec![0; 16];
        let got = child.stdout.take().unwrap().read_exact(&mut answer);
        drop(input);
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        (got.is_ok().then_some(answer), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let ping = b"MC\x01\x05\x00\x00\x00\x08\x01\x02\x03\x04\x05\x06\x07\x08";
    let (answer, text) = connect(&["-alpn", "mcp/1"], ping);
    assert_eq!(
        answer.as_deref(),
        Some(&b"MC\x01\x06\x00\x00\x00\x08\x01\x02\x03\x04\x05\x06\x07\x08"[..]),
        "{text}"
    );
    let (answer, _) = connect(&[], ping);
    assert_eq!(&answer.expect("a GOAWAY")[..4], b"MC\x01\x08", "without ALPN it is sent away");
    let (answer, text) = connect(&["-alpn", "h2"], ping);
    assert!(answer.is_none() && text.contains("no application protocol"), "{text}");
    let (answer, text) = connect(&["-alpn", "mcp/1", "-tls1_2"], ping);
    assert!(answer.is_none() && text.contains("alert protocol version"), "{text}");
}

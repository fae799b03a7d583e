//! The program itself: what it prints, and how it exits.
#![allow(clippy::unwrap_used, clippy::expect_used)]
// Other processes have no clock to pause.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::{Duration, Instant},
};

fn towpath() -> Command {
    Command::new(env!("CARGO_BIN_EXE_towpath"))
}

fn run(args: &[&str]) -> Output {
    towpath().args(args).stdin(Stdio::null()).output().unwrap()
}

fn run_with(args: &[&str], input: &[u8]) -> Output {
    let mut child = (towpath().args(args))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn assert_exit(output: &Output, code: i32) {
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "stderr: {err}");
}

/// `towpath serve` on a free port, killed when dropped.
struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(more: &[&str]) -> Self {
        let mut serve = towpath();
        serve.args(["serve", "--listen", "127.0.0.1:0"]).args(more);
        let mut child = serve.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on ").expect("the first line").trim_end().to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{line}");
        Server { child, out, address }
    }

    fn url(&self) -> String {
        format!("mcp://{}", self.address)
    }

    /// `towpath call` of a method, with further arguments.
    fn call(&self, args: &[&str]) -> Output {
        let url = self.url();
        run(&[&["call", &url], args].concat())
    }

    fn terminate(&self) {
        self.signal("TERM");
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

fn fault(output: &Output) -> Value {
    assert_exit(output, 1);
    assert!(output.stdout.is_empty());
    let value: Value = serde_json::from_slice(&output.stderr).expect("a fault as JSON");
    value["error"].clone()
}

#[test]
fn a_result_is_on_stdout() {
    let server = Server::start();
    let output = server.call(&["UserService.GetUserInfo", r#"{"id":1001}"#]);
    assert_exit(&output, 0);
    assert!(output.stdout.ends_with(b"}\n") && output.stderr.is_empty());
    let user: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(user["id"], 1001);
}

#[test]
fn an_echo_comes_back_as_it_went() {
    let server = Server::start();
    let odd = "{ \"b\" : 1,\t\"a\":[ 1.50 ] }";
    let output = server.call(&["Echo.Echo", odd]);
    assert_exit(&output, 0);
    assert_eq!(output.stdout, format!("{odd}\n").as_bytes());

    assert_eq!(server.call(&["Echo.Echo"]).stdout, b"null\n");
    assert_eq!(server.call(&["Echo.Echo", "-7"]).stdout, b"-7\n");

    let bytes: Vec<u8> = (0..=255).collect();
    let output = run_with(&["call", &server.url(), "Echo.Echo", "-", "--codec", "raw"], &bytes);
    assert_exit(&output, 0);
    assert_eq!(output.stdout, bytes);
    assert!(server.call(&["Echo.Echo", "--codec", "raw"]).stdout.is_empty());
}

#[test]
fn a_body_comes_from_a_file_or_from_stdin() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ask.json");
    fs::write(&file, "{\"id\": 5}\n").unwrap();
    let output = server.call(&["UserService.GetUserInfo", &format!("@{}", file.display())]);
    assert_exit(&output, 0);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["id"], 5);

    let output = run_with(&["call", &server.url(), "UserService.GetUserInfo", "-"], b"{\"id\": 6}");
    assert_exit(&output, 0);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["id"], 6);
}

#[test]
fn a_fault_is_json_on_stderr_and_exit_1() {
    let server = Server::start();
    let ask = json!({"code": "ORD-E-102", "message": "Failed to deduct", "cause": "USR-E-001"}).to_string();
    for kind in [&[][..], &["--async"]] {
        let error = fault(&server.call(&[&["Debug.Fail", &ask], kind].concat()));
        assert_eq!(error["code"], "ORD-E-102");
        assert_eq!(error["message"], "Failed to deduct");
        assert_eq!(error["cause"], "USR-E-001");
        assert!(error["trace_id"].is_string(), "{error}");
    }
    let error = fault(&server.call(&["Debug.Fail", r#"{"code":"ORD-E-001","message":"m"}"#]));
    assert_eq!((&error["code"], &error["cause"]), (&json!("ORD-E-001"), &Value::Null));
}

#[test]
fn a_fault_of_the_stack_is_a_fault_too() {
    let server = Server::start();
    let error = fault(&server.call(&["No.Such", "{}"]));
    assert_eq!((&error["code"], &error["not_processed"]), (&json!("MCP-E-004"), &json!(true)));
    assert_eq!(fault(&server.call(&["UserService.GetUserInfo", r#"{"id":"x"}"#]))["code"], "MCP-E-006");
    let raw = server.call(&["UserService.GetUserInfo", "{}", "--codec", "raw"]);
    assert_eq!(fault(&raw)["code"], "MCP-E-005");
    assert_eq!(fault(&server.call(&["No.Such", "{}", "--async"]))["code"], "MCP-E-004");
    // The service was reached, whatever it says of others that were not.
    for code in ["MCP-W-103", "MCP-E-011", "MCP-W-108"] {
        let ask = json!({"code": code, "message": "busy"}).to_string();
        assert_eq!(fault(&server.call(&["Debug.Fail", &ask]))["code"], code);
    }
    assert_eq!(fault(&server.call(&["Debug.Fail", r#"{"code":"lower","message":""}"#]))["code"], "MCP-E-006");
}

#[test]
fn asynchronous_and_one_way() {
    let server = Server::start();
    let output = server.call(&["Debug.Sleep", r#"{"ms":20}"#, "--async"]);
    assert_exit(&output, 0);
    assert_eq!(output.stdout, b"{\"ms\":20}\n");

    let output = server.call(&["Debug.Sleep", r#"{"ms":60000}"#, "--one-way"]);
    assert_exit(&output, 0);
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
    // Nobody waits for an answer, so not even a fault is told.
    assert_exit(&server.call(&["No.Such", "--one-way"]), 0);
}

#[test]
fn headers_and_every_form_of_a_timeout_are_taken() {
    let server = Server::start();
    for time in ["5s", "500ms", "1m", "1.5s"] {
        let output =
            server.call(&["Echo.Echo", "1", "--timeout", time, "-H", "tenant:acme", "-H", "priority:7"]);
        assert_exit(&output, 0);
        assert_eq!(output.stdout, b"1\n");
    }
}

#[test]
fn what_makes_no_sense_is_exit_2() {
    let url = "mcp://127.0.0.1:1";
    for args in [
        &["call"][..],
        &["call", url],
        &["call", "127.0.0.1:80", "A.B"],
        &["call", "http://127.0.0.1:80", "A.B"],
        &["call", url, ""],
        &["call", url, "A.B", "{"],
        &["call", url, "A.B", ""],
        &["call", url, "A.B", "{} {}"],
        &["call", url, "A.B", "@/no/such/file"],
        &["call", url, "A.B", "-"],
        &["call", url, &"m".repeat(65_536)],
        &["call", url, "A.B", "-H", "dup:1", "-H", "dup:2"],
        &["call", url, "A.B", "--timeout", "5"],
        &["call", url, "A.B", "--timeout", "0s"],
        &["call", url, "A.B", "--timeout", "soon"],
        &["call", url, "A.B", "-H", "tenant"],
        &["call", url, "A.B", "-H", "Tenant:acme"],
        &["call", url, "A.B", "-H", ":acme"],
        &["call", url, "A.B", "--codec", "xml"],
        &["call", url, "A.B", "--async", "--one-way"],
        &["call", url, "A.B", "{}", "{}"],
        &["ping", "nowhere"],
        &["ping", url, "--count", "0"],
        &["ping", url, "--count", "x"],
        &["serve", "--listen", "nowhere"],
        &["paint"],
        &[],
    ] {
        let output = run(args);
        assert_exit(&output, 2);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn what_makes_no_sense_is_said() {
    let url = "mcp://127.0.0.1:1";
    for (args, word) in [
        (&["call", url, "A.B", "@"][..], "no file name after the @"),
        (&["call", url, "A.B", "@/no/such/file"], "/no/such/file"),
        (&["call", url, &"m".repeat(65_536)], "at most 65535 bytes, this one has 65536"),
        (&["call", url, "A.B", "-H", "dup:1", "-H", "x:1", "-H", "dup:2"], "-H dup is given twice"),
        (&["bench", url, &"m".repeat(65_536)], "at most 65535 bytes, this one has 65536"),
        (&["bench", url, "A.B", "-H", "dup:1", "-H", "x:1", "-H", "dup:2"], "-H dup is given twice"),
    ] {
        let output = run(args);
        assert_exit(&output, 2);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(word) && text.len() < 1_000, "{text}");
    }
    // One byte less is a name, and nobody is there.
    assert_exit(&run(&["call", url, &"m".repeat(65_535)]), 3);
}

/// Whatever keeps it from being reached: that nothing was sent is worth more to a script than whose time it was.
#[test]
fn a_connect_that_takes_too_long_is_exit_3() {
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = full.local_addr().unwrap();
    // Nobody accepts: when the line is full, the system drops what else comes, without a word.
    let mut line = Vec::new();
    while let Ok(waiting) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        line.push(waiting);
        assert!(line.len() < 10_000, "the line is never full");
    }
    for limit in ["200ms", "1s"] {
        let output = run(&["call", &format!("mcp://{address}"), "A.B", "{}", "--timeout", limit]);
        assert_exit(&output, 3);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("MCP-E-011") && text.contains("no answer within"), "{text}");
    }
}

#[test]
fn bodies_are_compressed_when_both_sides_want_it() {
    let server = Server::start_with(&["--compress", "zstd"]);
    let body = format!("\"{}\"", "towpath ".repeat(20_000));
    for algorithm in ["lz4", "zstd"] {
        let output =
            run_with(&["call", &server.url(), "Echo.Echo", "-", "--compress", algorithm], body.as_bytes());
        assert_exit(&output, 0);
        assert!(output.stdout == format!("{body}\n").as_bytes());
    }
}

#[test]
fn who_is_not_reached_is_exit_3() {
    // Bound and not listening would be accepted by the backlog; a port that was just free is refused.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("mcp://{free}");
    for args in [&["call", &url, "A.B", "{}"][..], &["call", &url, "A.B", "--one-way"], &["ping", &url]] {
        let output = run(args);
        assert_exit(&output, 3);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("MCP-E-011") && text.contains(&url) && output.stdout.is_empty(), "{text}");
    }
}

#[test]
fn a_peer_that_is_no_mcp_service_is_not_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mcp://{}", listener.local_addr().unwrap());
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert_exit(&run(&["call", &url, "A.B", "{}"]), 3);
    peer.join().unwrap();
}

#[test]
fn a_deadline_is_exit_4() {
    let server = Server::start();
    for kind in [&[][..], &["--async"]] {
        let begun = Instant::now();
        let args = [&["Debug.Sleep", r#"{"ms":60000}"#, "--timeout", "300ms"], kind].concat();
        let output = server.call(&args);
        assert_exit(&output, 4);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("MCP-W-101") && output.stdout.is_empty(), "{text}");
        assert!(begun.elapsed() > Duration::from_millis(290) && begun.elapsed() < Duration::from_secs(10));
    }

    // Nobody answers at all.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mcp://{}", silent.local_addr().unwrap());
    assert_exit(&run(&["call", &url, "A.B", "--timeout", "200ms"]), 4);
}

#[test]
fn ping_counts_round_trips() {
    let server = Server::start();
    let output = run(&["ping", &server.url(), "--count", "3", "--interval", "10ms"]);
    assert_exit(&output, 0);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[..3].iter().all(|line| line.ends_with(" ms")), "{text}");
    assert!(lines[3].starts_with("3 round trips: min "), "{text}");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mcp://{}", silent.local_addr().unwrap());
    assert_exit(&run(&["ping", &url, "--timeout", "100ms"]), 4);
}

#[test]
fn sigterm_finishes_what_was_accepted_and_exits_0() {
    let mut server = Server::start();
    let url = server.url();
    let slow = std::thread::spawn(move || run(&["call", &url, "Debug.Sleep", r#"{"ms":700}"#]));
    std::thread::sleep(Duration::from_millis(300));
    server.terminate();
    let output = slow.join().unwrap();
    assert_exit(&output, 0);
    assert_eq!(output.stdout, b"{\"ms\":700}\n");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    server.out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "one line is all there is on stdout");
    assert_exit(&run(&["ping", &server.url()]), 3);
}

#[test]
fn a_second_signal_ends_a_drain() {
    for second in ["TERM", "INT"] {
        let mut server = Server::start();
        let url = server.url();
        let slow = std::thread::spawn(move || run(&["call", &url, "Debug.Sleep", r#"{"ms":60000}"#]));
        std::thread::sleep(Duration::from_millis(300));
        server.terminate();
        std::thread::sleep(Duration::from_millis(300));
        assert!(server.child.try_wait().unwrap().is_none(), "it drains");
        let begun = Instant::now();
        server.signal(second);
        assert_eq!(server.child.wait().unwrap().code(), Some(1));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_exit(&slow.join().unwrap(), 3);
    }
}

#[test]
fn sigterm_right_after_the_first_line_exits_0() {
    for _ in 0..5 {
        let mut server = Server::start();
        server.terminate();
        assert_eq!(server.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_port_that_is_taken_is_told() {
    let server = Server::start();
    let output = run(&["serve", "--listen", &server.address]);
    assert_exit(&output, 1);
    assert!(String::from_utf8_lossy(&output.stderr).contains(&server.address));
}

#[test]
fn help_says_what_there_is() {
    let output = run(&["--help"]);
    assert_exit(&output, 0);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(["call", "ping", "serve", "Exit codes"].iter().all(|word| text.contains(word)), "{text}");
    for (command, words) in [
        ("call", &["silent for 15s", "exit code 3", "Exit codes"][..]),
        ("serve", &["30s at most", "a second one", "with 1"]),
    ] {
        let output = run(&[command, "--help"]);
        assert_exit(&output, 0);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    assert_exit(&run(&["--version"]), 0);
}

//! The program over what is not plain TCP.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]
// Other processes have no clock to pause.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    io::{BufRead, BufReader},
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

//! The registry as a process, and the table of endpoints.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]
// Other processes have no clock to pause.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Long: only what is broken waits for so long.
const LONG: Duration = Duration::from_secs(30);

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

/// A `towpath` that goes on until it is told to end; killed when dropped.
struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Process {
    fn start(args: &[&str]) -> Self {
        let mut child = towpath().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Process { child, out }
    }

    /// One that listens, and its address.
    fn listening(args: &[&str]) -> (Self, String) {
        let mut process = Process::start(args);
        let line = process.line();
        let address = line.strip_prefix("listening on ").expect("the first line").trim_end().to_owned();
        (process, address)
    }

    fn registry() -> (Self, String) {
        Process::listening(&["registry", "--listen", "127.0.0.1:0", "--heartbeat", "500ms"])
    }

    fn serve(more: &[&str]) -> (Self, String) {
        Process::listening(&[&["serve", "--listen", "127.0.0.1:0"], more].concat())
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// What it has logged, when it has ended.
    fn log(&mut self) -> String {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }

    /// Tells it to end, and how it did.
    fn end(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `towpath endpoints --once --json`, and how it exits.
fn look(url: &str, more: &[&str]) -> (Option<i32>, Value) {
    let output = run(&[&["endpoints", url, "--once", "--json"], more].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

/// Looks until there is what is wanted.
fn until(url: &str, wanted: &[(&str, &str)]) -> Value {
    let begin = Instant::now();
    loop {
        let (_, view) = look(url, &[]);
        let mut found: Vec<_> = statuses(&view);
        found.sort();
        let mut sorted = wanted.to_vec();
        sorted.sort();
        if found.iter().map(|(address, status)| (&**address, &**status)).eq(sorted) {
            return view;
        }
        assert!(begin.elapsed() < LONG, "{view}");
    }
}

fn statuses(view: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rows = view["endpoints"].as_array().into_iter().flatten();
    rows.map(|row| (text(&row["address"]), text(&row["status"]))).collect()
}

#[test]
fn those_who_register_are_found_and_one_that_is_frozen_is_seen() {
    let (mut registry, at) = Process::registry();
    let url = format!("registry://{at}/demo");
    let (mut a, a_at) = Process::serve(&["--register", &url]);
    let (b, b_at) = Process::serve(&["--register", &url]);
    let (a_url, b_url) = (format!("mcp://{a_at}"), format!("mcp://{b_at}"));
    let view = until(&url, &[(&a_url, "ready"), (&b_url, "ready")]);
    for row in view["endpoints"].as_array().unwrap() {
        assert!(
            row["ping_us"].as_u64().unwrap() > 0 && row["weight"] == 1 && row["error"].is_null(),
            "{row}"
        );
    }

    let output = run(&["call", &format!("mcp://{at}"), "Registry.Services"]);
    assert_exit(&output, 0);
    let services: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&services["services"][0]["service"], &services["services"][0]["instances"]),
        (&"demo".into(), &2.into())
    );

    // A frozen one accepts connections, by its kernel, and does not answer; nor does it send heartbeats.
    b.signal("STOP");
    let (code, view) = look(&format!("{a_url},{b_at}"), &["--timeout", "500ms"]);
    assert_eq!(code, Some(0), "{view}");
    assert_eq!(statuses(&view), [(b_url.clone(), "down".to_owned()), (a_url.clone(), "ready".to_owned())]);
    assert!(view["endpoints"][0]["error"].as_str().unwrap().contains("within 500ms"), "{view}");
    until(&url, &[(&a_url, "ready")]);
    b.signal("CONT");
    until(&url, &[(&a_url, "ready"), (&b_url, "ready")]);

    // Who drains has left the registry by then. It had nothing to complain about.
    assert_exit(&run(&["call", &a_url, "Echo.Echo"]), 0);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!((a.end(), a.log()), (Some(0), String::new()));
    until(&url, &[(&b_url, "ready")]);
    // Watches do not hold up the registry's end.
    let begin = Instant::now();
    let watching = Process::start(&["endpoints", &url, "--json", "--interval", "100ms"]);
    assert_eq!(registry.end(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    drop(watching);
    let (code, view) = look(&url, &[]);
    assert_eq!((code, view), (Some(3), Value::Null), "nobody knows");
}

#[test]
fn a_table_for_people_and_exit_codes_for_scripts() {
    // Who is in a registry reports its load.
    let (_registry, at) = Process::registry();
    let (_a, a_at) = Process::serve(&["--register", &format!("registry://{at}/demo")]);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.toml");
    let list = format!(
        "[[endpoints]]\naddress = \"mcp://{a_at}\"\nweight = 3\nzone = \"north\"\nlabels = {{ version = \"2\" }}\n\
         [[endpoints]]\naddress = \"mcp://{gone}\"\n"
    );
    fs::write(&file, &list).unwrap();
    let url = format!("file:{}", file.display());
    let output = run(&["endpoints", &url, "--once", "--load"]);
    assert_exit(&output, 0);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("{url}: 2 endpoints: 1 ready, 1 down"));
    let words = |n: usize| lines[n].split_whitespace().collect::<Vec<_>>();
    assert_eq!(words(1)[..4], ["ENDPOINT", "STATUS", "WEIGHT", "ZONE"]);
    assert!(lines[1].contains("IN FLIGHT  QUEUE"), "{text}");
    assert_eq!(words(2)[..5], [&*format!("mcp://{gone}"), "down", "0", "s", "1"]);
    assert!(lines[3].contains("MCP-E-011") && lines[3].contains("refused"), "{text}");
    assert_eq!(words(4)[..4], [&*format!("mcp://{a_at}"), "ready", "3", "north"]);
    assert!(lines[4].ends_with("version=2"), "{text}");

    // One address is a list of one.
    let output = run(&["endpoints", &format!("mcp://{a_at}"), "--once"]);
    assert_exit(&output, 0);
    assert!(String::from_utf8(output.stdout).unwrap().contains(": 1 endpoint: 1 ready\n"));

    // None is ready.
    let output = run(&["endpoints", &format!("mcp://{gone}"), "--once"]);
    assert_exit(&output, 3);
    assert!(String::from_utf8(output.stdout).unwrap().contains("1 endpoint: 1 down"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("none takes calls of 1 endpoint: 1 down"));
    // Nobody knows which there are.
    for nowhere in ["file:/nowhere/at/all.toml".to_owned(), format!("registry://{gone}/demo")] {
        let output = run(&["endpoints", &nowhere, "--once"]);
        assert_exit(&output, 3);
        assert!(output.stdout.is_empty());
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(err.contains("No such file") || err.contains("connection refused"), "{err}");
    }
    // What makes no sense.
    for (args, says) in [
        (vec!["endpoints", "orders", "--once"], "there is no scheme"),
        (vec!["endpoints", "consul://a:1/b", "--once"], "the scheme is none of"),
        (vec!["endpoints", "mcps://a:1", "--once"], "--ca FILE"),
        (vec!["endpoints", "mcp://a:1", "--once", "--token-env", "PATH"], "--load"),
        (vec!["serve", "--register", "mcp://a:1"], "registry://"),
        (vec!["registry", "--missed", "0"], "missed"),
    ] {
        let output = run(&args);
        assert_exit(&output, 2);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(err.contains(says), "{args:?}: {err}");
    }
}

#[test]
fn it_goes_on_until_a_signal() {
    let (_a, a_at) = Process::serve(&[]);
    let url = format!("mcp://{a_at}");
    let mut live = Process::start(&["endpoints", &url, "--json", "--interval", "100ms"]);
    let views: Vec<Value> = (0..5).map(|_| serde_json::from_str(&live.line()).unwrap()).collect();
    assert_eq!(statuses(&views[4]), [(url.clone(), "ready".to_owned())]);
    assert!(views[4]["endpoints"][0]["pings"].as_u64().unwrap() > 1, "{}", views[4]);
    live.signal("INT");
    assert_eq!(live.child.wait().unwrap().code(), Some(0));

    let mut live = Process::start(&["endpoints", &url, "--interval", "100ms"]);
    let begin = Instant::now();
    while !live.line().contains("1 endpoint: 1 ready") {
        assert!(begin.elapsed() < LONG);
    }
    assert!(live.line().starts_with("ENDPOINT"));
    assert_eq!(live.end(), Some(0));
}

#[test]
fn calls_go_to_the_endpoints_of_a_name() {
    let (_registry, at) = Process::registry();
    let url = format!("registry://{at}/demo");
    let (_one, first) = Process::serve(&["--register", &url]);
    let (_two, second) = Process::serve(&[]);
    let echoed = run(&["call", &url, "Echo.Echo", r#"{"a":1}"#]);
    assert_exit(&echoed, 0);
    assert_eq!(echoed.stdout, b"{\"a\":1}\n");
    assert_exit(&run(&["methods", &url]), 0);
    let list = format!("mcp://{first},{second}");
    assert_exit(&run(&["bench", &list, "Echo.Echo", r#"{"a":1}"#, "--duration", "300ms"]), 0);

    let nobody = run(&["call", &format!("registry://{at}/nobody"), "Echo.Echo", "{}", "--timeout", "300ms"]);
    assert_exit(&nobody, 3);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("there are no endpoints there"));
    // A PING has one peer.
    assert_exit(&run(&["ping", &url]), 2);
}

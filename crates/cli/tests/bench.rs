//! `towpath bench` and `towpath methods`, the program itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Other processes have no clock to pause.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};
use towpath::{Json, Router};

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

/// `towpath serve` on a free port, killed when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut child =
            (towpath().args(["serve", "--listen", "127.0.0.1:0"])).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on ").expect("the first line").trim_end();
        Server { url: format!("mcp://{address}"), child }
    }

    fn bench(&self, args: &[&str]) -> Output {
        run(&[&["bench", &self.url], args].concat())
    }

    /// The report as JSON.
    #[track_caller]
    fn report(&self, args: &[&str], exit: i32) -> Value {
        let output = self.bench(&[args, &["--json"]].concat());
        assert_exit(&output, exit);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer} in {report}"))
}

#[test]
fn a_closed_loop_keeps_as_many_calls_in_flight_as_asked() {
    let server = Server::start();
    let ask = ["Debug.Sleep", r#"{"ms":50}"#, "--connections", "2", "--inflight", "3", "--duration", "1s"];
    let report = server.report(&ask, 0);
    // 6 callers, each at most 20 times; a slow machine gets fewer.
    let calls = number(&report, "/calls");
    assert!(calls > 6.0 && calls <= 120.0, "{report}");
    assert_eq!((&report["connections"], &report["inflight"]), (&json!(2), &json!(3)));
    assert_eq!((&report["ok"], &report["failed"]), (&report["calls"], &json!(0)));
    assert_eq!((&report["rate"], &report["method"]), (&Value::Null, &json!("Debug.Sleep")));
    let seconds = number(&report, "/seconds");
    assert!(seconds >= 1.0 && (number(&report, "/per_second") * seconds - calls).abs() < 0.01, "{report}");
    let mut last = 49_900.0;
    for name in ["min", "p50", "p75", "p90", "p99", "p99.9", "p99.99", "max"] {
        let time = number(&report["latency_us"], &format!("/{name}"));
        assert!(time >= last, "{name}: {report}");
        last = time;
    }
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let server = Server::start();
    let report = server.report(&["Echo.Echo", "1", "--rate", "200", "--duration", "1s"], 0);
    assert_eq!((&report["calls"], &report["rate"]), (&json!(200), &json!(200.0)));
    assert!(number(&report, "/seconds") >= 0.99, "{report}");
}

/// The service stands still for 800 ms, once. The 80 calls that are due meanwhile have to wait, whether or not
/// the caller was free to send them; counted from the moment of sending, all but one would look quick.
#[tokio::test(flavor = "multi_thread")]
async fn latency_counts_from_when_a_call_was_due() {
    let server = towpath::Server::builder().bind("127.0.0.1:0").await.unwrap();
    let url = format!("mcp://{}", server.local_addr());
    let stalled = AtomicBool::new(false);
    let router: Router = Router::new().route("A.B", move || {
        let stall = !stalled.swap(true, Relaxed);
        async move {
            if stall {
                tokio::time::sleep(Duration::from_millis(800)).await;
            }
        }
    });
    let serving = tokio::spawn(server.serve(router).into_future());
    let ask = ["--rate", "100", "--inflight", "1", "--duration", "1s", "--json"];
    let bench = move || run(&[&["bench", &url, "A.B"], &ask[..]].concat());
    let output = tokio::task::spawn_blocking(bench).await.unwrap();
    serving.abort();
    assert_exit(&output, 0);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["calls"], &report["ok"]), (&json!(100), &json!(100)));
    // Half of the calls waited for 300 ms or longer, a quarter for 550 ms.
    assert!(number(&report["latency_us"], "/p50") > 200_000.0, "{report}");
    assert!(number(&report["latency_us"], "/p75") > 450_000.0, "{report}");
    assert!(number(&report["latency_us"], "/max") > 790_000.0, "{report}");
}

/// One caller can send 10 calls of 100 ms in a second, and 50 are due.
#[test]
fn calls_that_were_not_sent_are_not_forgotten() {
    let server = Server::start();
    let ask = ["Debug.Sleep", r#"{"ms":100}"#, "--rate", "50", "--inflight", "1", "--duration", "1s"];
    let report = server.report(&ask, 1);
    assert_eq!(report["calls"], 50);
    let sent = number(&report, "/ok");
    assert!((2.0..=13.0).contains(&sent), "{report}");
    assert_eq!(number(&report, "/failures/not sent"), 50.0 - sent);
    assert!(number(&report, "/latency_us/p50") > 400_000.0, "{report}");
    assert!(number(&report, "/per_second") < 13.0, "{report}");
}

#[test]
fn failures_are_counted_by_code_and_give_the_exit_code() {
    let server = Server::start();
    let output =
        server.bench(&["Debug.Fail", r#"{"code":"ORD-E-102"}"#, "--rate", "50", "--duration", "500ms"]);
    assert_exit(&output, 1);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(out.contains("25 failed") && out.contains("  ORD-E-102  25\n"), "{out}");
    assert_eq!(err, "towpath: 25 of 25 calls failed, 25 of them: ORD-E-102\n");

    let late =
        ["Debug.Sleep", r#"{"ms":60000}"#, "--timeout", "50ms", "--duration", "300ms", "--inflight", "2"];
    let report = server.report(&late, 4);
    assert_eq!((&report["failures"]["MCP-W-101"], &report["ok"]), (&report["calls"], &json!(0)));
    assert_eq!(
        server.report(&["No.Such", "--duration", "50ms"], 1)["failures"].as_object().unwrap().len(),
        1
    );
}

#[test]
fn a_service_that_goes_away_is_exit_3() {
    let mut server = Server::start();
    let bench = (towpath().args(["bench", &server.url, "Debug.Sleep", r#"{"ms":5000}"#]))
        .args(["--inflight", "4", "--duration", "1500ms", "--timeout", "2s", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(700));
    server.child.kill().unwrap();
    let output = bench.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(number(&report, "/failures/MCP-E-010") >= 4.0, "{report}");
    // What follows waits for a connection, and ends as one that could not be made or as late.
    assert!(matches!(output.status.code(), Some(3 | 4)), "{output:?}");

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = run(&["bench", &format!("mcp://{free}"), "A.B"]);
    assert_exit(&output, 3);
    assert!(output.stdout.is_empty());
}

#[test]
fn sigint_ends_it_with_a_report() {
    let server = Server::start();
    let begun = Instant::now();
    let bench = (towpath().args(["bench", &server.url, "Echo.Echo", "--rate", "100", "--duration", "60s"]))
        .arg("--json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(700));
    let kill = format!("kill -INT {}", bench.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let output = bench.wait_with_output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!((1.0..=2000.0).contains(&number(&report, "/calls")), "{report}");
}

#[test]
fn a_picture_is_drawn() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("latency.svg");
    let name = file.to_str().unwrap();
    let output = server.bench(&["Echo.Echo", "1", "--duration", "200ms", "--svg", name]);
    assert_exit(&output, 0);
    assert!(output.stderr.is_empty(), "no line where there is no terminal");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("Echo.Echo at mcp://") && text.contains("p99.9"), "{text}");

    let picture = std::fs::read_to_string(&file).unwrap();
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    assert!(picture.contains("prefers-color-scheme:dark") && picture.contains(">99 %</text>"), "{picture}");
    // The curve goes to the right and, the picture's y pointing down, never down.
    let points = picture.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
    let points: Vec<(f64, f64)> = points
        .split(' ')
        .map(|point| point.split_once(',').unwrap())
        .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
        .collect();
    assert!(points.len() > 100 && points.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 >= two[1].1));

    let nowhere = server.bench(&["Echo.Echo", "--duration", "10ms", "--svg", "/no/such/folder/x.svg"]);
    assert_exit(&nowhere, 1);
}

#[test]
fn what_makes_no_sense_is_exit_2() {
    let url = "mcp://127.0.0.1:1";
    for more in [
        &["--connections", "0"][..],
        &["--inflight", "0"],
        &["--rate", "0"],
        &["--rate", "-1"],
        &["--rate", "NaN"],
        &["--duration", "soon"],
        &["{"],
    ] {
        let output = run(&[&["bench", url, "A.B"], more].concat());
        assert_exit(&output, 2);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{more:?}");
    }
    assert_exit(&run(&["methods", "nowhere"]), 2);
}

#[test]
fn a_server_tells_its_methods() {
    let server = Server::start();
    let output = run(&["methods", &server.url]);
    assert_exit(&output, 0);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "Debug.Fail               json\n\
         Debug.Sleep              json\n\
         Echo.Echo                any   idempotent\n\
         UserService.GetUserInfo  json  idempotent\n"
    );
    let output = run(&["methods", &server.url, "--json"]);
    assert_exit(&output, 0);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list[2], json!({"name": "Echo.Echo", "codecs": [], "flags": ["idempotent"]}));
    assert_eq!(list.as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_server_that_does_not_tell_is_a_fault() {
    let server = towpath::Server::builder().bind("127.0.0.1:0").await.unwrap();
    let url = format!("mcp://{}", server.local_addr());
    let router: Router = Router::new().route("A.B", async |Json(_): Json<Value>| ()).without_listing();
    let serving = tokio::spawn(server.serve(router).into_future());
    let output = tokio::task::spawn_blocking(move || run(&["methods", &url])).await.unwrap();
    serving.abort();
    assert_exit(&output, 1);
    assert!(output.stdout.is_empty());
    let fault: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(fault["error"]["code"], "MCP-E-004");
}

//! Spans as a collector that others have written takes them: [Rotel](https://github.com/streamfold/rotel), where it is
//! installed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are not #[test] themselves

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};
use towpath_core::{BoxError, Error, ErrorKind, Request, Response, context::TraceContext};
use towpath_trace::{
    TraceConfig, TraceLayer,
    otel::{ExportConfig, ExportOptions, Otlp, OtlpProtocol},
};
use tracing::subscriber::set_default;
use tracing_subscriber::prelude::*;

/// The program, if it is there and runs.
fn program() -> Option<OsString> {
    let program = env::var_os("TOWPATH_ROTEL").unwrap_or_else(|| "rotel-agent".into());
    let runs = Command::new(&program).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if runs.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    eprintln!(
        "not run: there is no rotel-agent (in PATH, or as TOWPATH_ROTEL); the wheel rotel from PyPI has one, \
         which needs Debian's libpython3.11"
    );
    None
}

/// A collector that writes down what it takes.
struct Rotel {
    process: Child,
    ports: [u16; 2],
    log: PathBuf,
}

impl Rotel {
    async fn start(program: OsString, dir: &Path) -> Self {
        // Both held until both are known: so they differ.
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let (ports, log) = (free.each_ref().map(|free| free.local_addr().unwrap().port()), dir.join("log"));
        drop(free);
        let process = Command::new(program)
            .arg("start")
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{}", ports[0])])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{}", ports[1])])
            .args(["--debug-log", "traces", "--debug-log-verbosity", "detailed", "--exporter", "blackhole"])
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(File::create(dir.join("errors")).unwrap())
            .spawn()
            .unwrap();
        let mut rotel = Rotel { process, ports, log };
        let end = Instant::now() + Duration::from_secs(30);
        while ports.iter().any(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()) {
            assert!(rotel.process.try_wait().unwrap().is_none(), "it has ended: {}", rotel.log());
            assert!(Instant::now() < end, "it does not listen: {}", rotel.log());
            sleep(Duration::from_millis(20)).await;
        }
        rotel
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// What it has written when there is so much of each.
    async fn says(&self, what: &[(&str, usize)]) -> String {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let log = self.log();
            let missing = what.iter().find(|(word, times)| log.matches(word).count() < *times);
            let Some(missing) = missing else { return log };
            assert!(Instant::now() < end, "it does not say {missing:?}:\n{log}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn is_taken(protocol: OtlpProtocol) {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    let rotel = Rotel::start(program, dir.path()).await;
    let endpoint = match protocol {
        OtlpProtocol::Grpc => format!("http://127.0.0.1:{}", rotel.ports[0]),
        _ => format!("http://127.0.0.1:{}", rotel.ports[1]),
    };
    let options = ExportOptions { service: Some("orders".into()), ..ExportOptions::default() };
    let export = Otlp::new(endpoint, protocol, ExportConfig::try_new(options).unwrap()).start().unwrap();
    let _guard = set_default(tracing_subscriber::registry().with(export.layer()));

    let config = TraceConfig::sampled(1.0).unwrap();
    let handler = service_fn(|request: Request| async move {
        match request.method().name() {
            "Lost" => Err(BoxError::from(Error::new(ErrorKind::ConnectionLost).because("cut"))),
            _ => Ok(Response::new(request.context().trace().unwrap().traceparent().to_vec().into())),
        }
    });
    let attempt = TraceLayer::attempt(config.clone()).target("mcp://orders:8080").layer(handler);
    let service = TraceLayer::client(config).layer(attempt);
    let call = |method: &'static str| {
        service.clone().oneshot(Request::with_context(method, towpath_core::Context::new(), "".into()))
    };
    let trace = TraceContext::parse_traceparent(call("Orders.Place").await.unwrap().body()).unwrap();
    assert!(call("Orders.Lost").await.is_err());
    export.flush().await;

    let whole = [
        ("service.name: Str(orders)", 1),
        ("rpc.service: Str(Orders)", 4),
        ("error.type", 2),
        ("server.port", 2),
    ];
    let log = rotel.says(&whole).await;
    let spans: Vec<Taken> = log.split("\nSpan #").skip(1).map(Taken::of).collect();
    for (name, status) in [("Orders.Place", "STATUS_CODE_UNSET"), ("Orders.Lost", "STATUS_CODE_ERROR")] {
        let of = |attempt: bool| {
            let found =
                |span: &&Taken| span.is("Name", name) && span.has("towpath.attempt: Int(0)") == attempt;
            let mut found = spans.iter().filter(found);
            let (first, second) = (found.next(), found.next());
            assert!(second.is_none(), "twice:\n{log}");
            first.unwrap_or_else(|| panic!("{name} is missing:\n{log}"))
        };
        let (call, attempt) = (of(false), of(true));
        assert_eq!(call.get("Parent ID"), "");
        assert_eq!(attempt.get("Parent ID"), call.get("ID"));
        assert_eq!(attempt.get("Trace ID"), call.get("Trace ID"));
        for span in [call, attempt] {
            assert!(span.is("Kind", "SPAN_KIND_CLIENT") && span.is("Status code", status), "{log}");
            assert!(span.has("rpc.system.name: Str(towpath)"), "{log}");
            assert!(span.has(&format!("rpc.method: Str({name})")), "{log}");
            assert_eq!(span.has("error.type: Str(MCP-E-010)"), name == "Orders.Lost", "{log}");
        }
        assert!(attempt.has("server.address: Str(orders)") && attempt.has("server.port: Int(8080)"), "{log}");
        if name == "Orders.Place" {
            assert!(attempt.is("ID", &trace.span_id.to_string()), "{log}");
            assert!(attempt.is("Trace ID", &trace.trace_id.to_string()), "{log}");
        }
    }
    assert_eq!(spans.len(), 4, "{log}");
}

/// A span as it is written down: lines of names and values, and of attributes.
struct Taken(String);

impl Taken {
    fn of(text: &str) -> Self {
        Taken(text.to_owned())
    }

    fn get(&self, name: &str) -> &str {
        let of = |line: &'_ str| line.split_once(':').filter(|(key, _)| key.trim() == name).is_some();
        let line = self.0.lines().find(|line| of(line)).unwrap_or_else(|| panic!("no {name}:\n{}", self.0));
        line.split_once(':').unwrap().1.trim()
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == value
    }

    fn has(&self, attribute: &str) -> bool {
        self.0.lines().any(|line| line.trim().strip_prefix("-> ") == Some(attribute))
    }
}

#[tokio::test]
async fn over_grpc() {
    is_taken(OtlpProtocol::Grpc).await;
}

#[tokio::test]
async fn over_http() {
    is_taken(OtlpProtocol::Http).await;
}

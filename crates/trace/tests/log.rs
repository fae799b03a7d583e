//! Every line that is written within a call says which call that is.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use serde_json::Value;
use std::{
    io::Write,
    sync::{Arc, Mutex},
};
use tower::{Layer, ServiceExt, service_fn};
use towpath_core::{BoxError, Error, ErrorKind, Request, Response, context};
use towpath_trace::{
    TraceConfig, TraceLayer,
    log::{JsonLines, WithIds},
};
use tracing::{Instrument, subscriber::set_default};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn text(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(ToOwned::to_owned).collect()
    }

    fn json(&self) -> Vec<Value> {
        self.text().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A server whose handler writes lines here and there, and answers with its trace.
async fn serve(sample: f64) -> String {
    let handler = service_fn(|request: Request| async move {
        tracing::info!("begun");
        tokio::task::yield_now().await;
        async { tracing::warn!(order = 7, "inside") }.instrument(tracing::info_span!("inner")).await;
        context::spawn(async { tracing::info!("spawned") }).await?;
        let trace = request.context().trace().unwrap();
        let ids = format!("{} {}", trace.trace_id, trace.span_id);
        Ok::<Response, BoxError>(Response::new(ids.into()))
    });
    let layer = TraceLayer::server(TraceConfig::sampled(sample).unwrap());
    let response = layer.layer(handler).oneshot(Request::new("A.B", "".into())).await.unwrap();
    tracing::info!("after");
    String::from_utf8(response.into_body().to_vec()).unwrap()
}

#[tokio::test]
async fn json_lines() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().event_format(JsonLines::new()).with_writer(move || writer.clone());
    let _log = set_default(log.finish());
    for sample in [0.0, 1.0] {
        let ids = serve(sample).await;
        let written = lines.json();
        let messages: Vec<_> = written.iter().map(|line| line["message"].as_str().unwrap()).collect();
        assert_eq!(messages, ["begun", "inside", "spawned", "after"]);
        for line in &written[..3] {
            let own = format!("{} {}", line["trace_id"].as_str().unwrap(), line["span_id"].as_str().unwrap());
            assert_eq!(own, ids, "{line}");
            assert_eq!(line["sampled"], sample == 1.0);
        }
        assert!(written[3].get("trace_id").is_none() && written[3].get("spans").is_none());
        let around = if sample == 1.0 { vec!["serve", "inner"] } else { vec!["inner"] };
        assert_eq!(written[1]["spans"], serde_json::to_value(around).unwrap());
        assert_eq!(written[1]["fields"], serde_json::json!({"order": 7}));
        assert_eq!((&written[1]["level"], &written[1]["target"]), (&"WARN".into(), &"log".into()));
    }
}

#[test]
fn any_value_and_any_text() {
    let lines = Lines::default();
    let writer = lines.clone();
    let format = JsonLines::new().with_timer(());
    let log = tracing_subscriber::fmt().event_format(format).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(log, || {
        let lost = Error::wrapping(ErrorKind::ConnectionLost, std::io::Error::other("reset"));
        let error: &(dyn std::error::Error + 'static) = &lost;
        tracing::error!(error, yes = true, half = 0.5, below = -1, text = "a\"b\n", debug = ?Some(1));
        tracing::info!(message = "said", level = "mine");
    });
    let [first, second] = <[Value; 2]>::try_from(lines.json()).unwrap();
    assert!(first.get("timestamp").is_none() && first.get("message").is_none());
    let fields = &first["fields"];
    let error = fields["error"].as_str().unwrap();
    assert!(error.starts_with("MCP-E-010") && error.ends_with(": reset"), "{error}");
    assert_eq!(
        (&fields["yes"], &fields["half"], &fields["below"]),
        (&true.into(), &0.5.into(), &(-1).into())
    );
    assert_eq!((&fields["text"], &fields["debug"]), (&"a\"b\n".into(), &"Some(1)".into()));
    assert_eq!((&second["message"], &second["level"]), (&"said".into(), &"INFO".into()));
    assert_eq!(second["fields"]["level"], "mine");
}

#[tokio::test]
async fn ids_in_front_of_another_format() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().without_time().with_ansi(false);
    let format = WithIds::new(tracing_subscriber::fmt::format().without_time().compact());
    let _log = set_default(log.event_format(format).with_writer(move || writer.clone()).finish());
    let ids = serve(0.0).await;
    let (trace, span) = ids.split_once(' ').unwrap();
    let written = lines.text();
    assert_eq!(written.len(), 4);
    for line in &written[..3] {
        assert!(line.starts_with(&format!("trace_id={trace} span_id={span} ")), "{line}");
    }
    assert!(!written[3].contains("trace_id"), "{}", written[3]);
}

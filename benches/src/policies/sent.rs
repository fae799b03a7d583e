//! Spans that are sent to a collector: there only when they are asked for, as they have a subscriber for the whole
//! process, which other rows are not to have.

use super::{By, Policy, ours::traces, subject::clones};
use crate::{Failure, policies::subject::Immediate};
use std::{sync::mpsc, thread};
use tower::Layer;
use towpath_core::BoxError;
use towpath_trace::otel::{ExportConfig, Otlp, OtlpProtocol};
use tracing_subscriber::prelude::*;

pub(super) fn policies() -> Vec<Policy> {
    let start = || {
        subscribe()?;
        Ok(clones(traces().layer(Immediate::<BoxError>::new())))
    };
    vec![Policy { layer: "OTLP", by: By::Ours, note: "of calls and attempts, 1 % sampled", start }]
}

/// Sends spans to a collector in this process that takes all and keeps nothing; both on a thread of their own, as a
/// program's runtime has them beside who calls.
fn subscribe() -> Result<(), Failure> {
    let (done, started) = mpsc::channel();
    thread::spawn(move || {
        let run = async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let endpoint = format!("http://{}", listener.local_addr()?);
            let export = Otlp::new(endpoint, OtlpProtocol::Http, ExportConfig::default()).start()?;
            tracing::subscriber::set_global_default(tracing_subscriber::registry().with(export.layer()))?;
            let _ = done.send(());
            // An empty answer is a success, in Protobuf.
            axum::serve(listener, axum::Router::new().fallback(|| async {})).await?;
            Ok::<_, Failure>(())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Err(error) = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run)) {
            eprintln!("spans are not sent: {error}");
        }
    });
    started.recv().map_err(|_| "spans are not sent".into())
}

//! A call outside any context, in a process that serves, is reported once. In a file of its own: "once" is
//! once per process.
#![allow(clippy::unwrap_used)]

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};
use towpath_core::{
    Context, Method,
    context::{Scope, background, report_missing, scope},
};
use tracing::{Event, Metadata, Subscriber, field::Field, span};

/// Keeps the text of every event.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut |field: &Field, value: &dyn Debug| {
            text += &format!("{}={value:?} ", field.name());
        });
        self.0.lock().unwrap().push(text);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn a_call_outside_any_context_is_reported_once() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let lines = || log.0.lock().unwrap().clone();
    let call = |name: &'static str| report_missing(&Method::from_static(name));

    call("A.BeforeAnythingIsServed");
    scope(Context::new(), async {
        call("B.InAHandler");
        let passed_on = async { report_missing(&Method::from_static("C.Spawned")) }.in_context();
        tokio::spawn(passed_on).await.unwrap();
        tokio::spawn(background(async { report_missing(&Method::from_static("D.OnPurpose")) }))
            .await
            .unwrap();
    })
    .await;
    assert_eq!(lines(), Vec::<String>::new());

    scope(Context::new(), async {
        for _ in 0..3 {
            tokio::spawn(async { report_missing(&Method::from_static("E.Lost")) }).await.unwrap();
        }
    })
    .await;
    call("F.LostToo");
    let lines = lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("E.Lost") && lines[0].contains("context::spawn"), "{lines:?}");
}

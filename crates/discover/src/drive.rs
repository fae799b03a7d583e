//! The one task of a name: it asks the source, for as long as somebody watches.

use crate::{
    Source,
    settle::Settle,
    shared::{Held, Shared, Work},
};
use fastrand::Rng;
use std::{
    any::Any,
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll},
};
use tokio::time::{Instant, sleep, sleep_until};
use towpath_core::{BoxError, Clock};

/// Asks, and asks again; ends when the source does, or is aborted when nobody watches any more.
pub(crate) async fn run(mut held: Held) {
    let shared = held.shared.clone();
    let mut rng = Rng::new();
    while let Some(Work { source, settle }) = &mut held.work {
        let asked = Caught(Box::pin(source.next()));
        match beside(&shared, settle, asked).await {
            None => source.refresh(),
            Some(Ok(Some(update))) => {
                let heard = settle.hear(update, Clock::now(), &shared.live.get());
                shared.heard(heard);
                publish(&shared, settle);
                // A source that always has something to say leaves room for others.
                tokio::task::yield_now().await;
            }
            Some(Ok(None)) => {
                while settle.due(&shared.live.get()).is_some() {
                    beside(&shared, settle, until(settle.due(&shared.live.get()))).await;
                    publish(&shared, settle);
                }
                held.work = None;
                shared.end();
            }
            Some(Err(error)) => {
                let backoff = shared.live.get().backoff();
                let wait = shared.failed(error, |failures| backoff.delay(failures - 1, &mut rng));
                if beside(&shared, settle, sleep(wait)).await.is_none() {
                    source.refresh();
                }
            }
        }
    }
}

/// Waits for something, and makes known meanwhile what is due; `None`: somebody asked for a refresh.
async fn beside<F: Future>(shared: &Shared, settle: &mut Settle, what: F) -> Option<F::Output> {
    let mut what = pin!(what);
    loop {
        let version = shared.live.version();
        let due = settle.due(&shared.live.get());
        tokio::select! {
            biased;
            output = &mut what => return Some(output),
            () = shared.refresh.notified() => return None,
            () = until(due) => publish(shared, settle),
            // What is due may be due at another time.
            _ = shared.live.changed(version) => {}
        }
    }
}

fn publish(shared: &Shared, settle: &mut Settle) {
    if let Some(publication) = settle.settle(Clock::now(), &shared.live.get()) {
        shared.publish(publication);
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

/// A source that panics has failed.
struct Caught<F>(Pin<Box<F>>);

impl<T, F: Future<Output = Result<T, BoxError>>> Future for Caught<F> {
    type Output = Result<T, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(polled) => polled,
            Err(panic) => Poll::Ready(Err(panicked(&*panic))),
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> BoxError {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "(no text)",
    };
    format!("the source panicked, which is a defect of it: {text}").into()
}

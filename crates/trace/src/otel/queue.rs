//! Spans that have ended and wait to be sent.

use super::ExportConfig;
use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{Span, SpanData, SpanExporter, SpanProcessor},
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::{Instant, timeout, timeout_at},
};
use tracing::{instrument::WithSubscriber, subscriber::NoSubscriber};

/// After so long without a loss the next one is reported again.
const CALM: Duration = Duration::from_secs(60);

/// What is done for a handle of the queue.
#[allow(clippy::large_enum_variant)] // nearly all of them are spans
enum Order {
    Span(SpanData),
    /// Send what there is, and say so.
    Flush(oneshot::Sender<()>),
}

/// Where spans are put that have ended: what finds no room is counted, and nobody waits.
#[derive(Clone)]
pub(super) struct Queue {
    orders: mpsc::Sender<Order>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Queue {
    /// A queue, and what empties it: that ends when the last handle of the queue is gone.
    pub(super) fn new<E: SpanExporter>(
        exporter: E,
        config: ExportConfig,
    ) -> (Self, impl Future<Output = ()> + use<E>) {
        let (orders, receiver) = mpsc::channel(config.queue);
        let counts = Arc::<Counts>::default();
        let sender =
            Sender { exporter, config, counts: counts.clone(), well: true, dropped: 0, last_drop: None };
        (Queue { orders, counts }, sender.run(receiver))
    }

    pub(super) fn push(&self, span: SpanData) {
        if let Err(TrySendError::Full(_) | TrySendError::Closed(_)) = self.orders.try_send(Order::Span(span))
        {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Waits until what was put in before is sent, or given up.
    pub(super) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.orders.send(Order::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let Counts { sent, failed, dropped } = &*self.counts;
        (sent.load(Relaxed), failed.load(Relaxed), dropped.load(Relaxed))
    }
}

/// What empties the queue.
struct Sender<E> {
    exporter: E,
    config: ExportConfig,
    counts: Arc<Counts>,
    /// Whether the last batch was taken.
    well: bool,
    /// How many spans had found no room when it was last looked.
    dropped: u64,
    /// When it was last seen that there were more.
    last_drop: Option<Instant>,
}

impl<E: SpanExporter> Sender<E> {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut batch = Vec::new();
        let mut due = None;
        loop {
            let order = match due {
                None => Ok(orders.recv().await),
                Some(due) => timeout_at(due, orders.recv()).await,
            };
            let mut flushed = None;
            let over = match order {
                Ok(Some(Order::Span(span))) => {
                    batch.push(span);
                    due.get_or_insert_with(|| Instant::now() + self.config.interval);
                    if batch.len() < self.config.batch {
                        continue;
                    }
                    false
                }
                Ok(Some(Order::Flush(done))) => {
                    flushed = Some(done);
                    false
                }
                Ok(None) => true,
                Err(_) => false,
            };
            due = None;
            self.send(std::mem::take(&mut batch)).await;
            self.look_for_drops();
            if let Some(done) = flushed {
                let _ = done.send(());
            }
            if over {
                let _ = self.exporter.shutdown();
                return;
            }
        }
    }

    /// Says that spans found no room: here, as whoever puts one in is in the middle of a call.
    fn look_for_drops(&mut self) {
        let dropped = self.counts.dropped.load(Relaxed);
        let spans = dropped - self.dropped;
        if spans == 0 {
            return;
        }
        self.dropped = dropped;
        let now = Instant::now();
        if self.last_drop.is_none_or(|last| now - last >= CALM) {
            tracing::warn!(
                spans,
                queue = self.config.queue,
                "spans find no room in the queue and are given up; calls go on. Sample or keep fewer, raise `queue`, or \
                 see why the collector is slow. Reported once, until none was given up for a minute."
            );
        }
        self.last_drop = Some(now);
    }

    /// Sends a batch; what is not taken in time is given up.
    async fn send(&mut self, batch: Vec<SpanData>) {
        if batch.is_empty() {
            return;
        }
        let spans = batch.len() as u64;
        // What the exporter itself does is not to be traced: that would never end.
        let export = self.exporter.export(batch).with_subscriber(NoSubscriber::default());
        let result = match timeout(self.config.timeout, export).await {
            Ok(result) => result,
            Err(_) => Err(OTelSdkError::Timeout(self.config.timeout)),
        };
        match result {
            Ok(()) => {
                self.counts.sent.fetch_add(spans, Relaxed);
                if !self.well {
                    tracing::info!("spans are sent again");
                }
                self.well = true;
            }
            Err(error) => {
                self.counts.failed.fetch_add(spans, Relaxed);
                if self.well {
                    tracing::warn!(
                        %error,
                        spans,
                        "spans cannot be sent and are given up; calls go on. Check that the collector runs and that \
                         its address is right. Reported once, until it works again."
                    );
                }
                self.well = false;
            }
        }
    }
}

/// Spans come here from OpenTelemetry's SDK.
impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.push(span);
        }
    }

    /// Whoever wants to wait has a way that blocks no thread.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn set_resource(&mut self, _: &Resource) {}
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("counts", &self.counts).finish_non_exhaustive()
    }
}

//! Spans are put together and sent.

use super::{
    ExportConfig, InCalls, Keeper, OnlySampled, bridge::BRIDGE, ids::OfCalls, queue::Queue,
    sampler::AsDecided,
};
use crate::bridge;
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Tracer, TracerProvider},
};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracerProvider, SpanExporter},
};
use std::fmt;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, registry::LookupSpan};

/// Sends spans: what sampled calls record through `tracing`, and what was kept of others.
///
/// ```no_run
/// use towpath_trace::{TraceConfig, TraceLayer, otel::{Export, ExportConfig}};
/// use tracing_subscriber::prelude::*;
/// # async fn example(exporter: impl opentelemetry_sdk::trace::SpanExporter + 'static) {
/// let export = Export::start(exporter, ExportConfig::of_service("orders"));
/// tracing_subscriber::registry().with(export.layer()).init();
/// let server = TraceLayer::server(TraceConfig::default()).observe(export.keeper());
/// // … at the end:
/// export.flush().await;
/// # drop(server);
/// # }
/// ```
///
/// Nobody waits for it, and nothing fails because of it: what cannot be sent is given up, said once, and
/// [counted](Self::counts). A clone is a handle to the same; what sends ends when the last handle, layer and keeper are
/// gone, and sends the rest before that.
#[derive(Clone)]
pub struct Export {
    queue: Queue,
    provider: SdkTracerProvider,
    scope: InstrumentationScope,
}

/// What became of spans, since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportCounts {
    /// Spans that were sent.
    pub sent: u64,
    /// Spans that were given up, as they could not be sent.
    pub failed: u64,
    /// Spans that found no room in the queue.
    pub dropped: u64,
}

impl Export {
    /// Sends spans by this exporter, from a task on the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start<E: SpanExporter + 'static>(mut exporter: E, config: ExportConfig) -> Self {
        let mut resource = Resource::builder();
        if let Some(service) = &config.service {
            resource = resource.with_service_name(service.clone());
        }
        let more = config.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let resource = resource.with_attributes(more).build();
        exporter.set_resource(&resource);
        let sampler = AsDecided::new(config.sample_others);
        let (queue, sender) = Queue::new(exporter, config);
        tokio::spawn(sender);
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(sampler)
            .with_id_generator(OfCalls::default())
            .with_span_processor(queue.clone())
            .build();
        let scope = InstrumentationScope::builder("towpath").with_version(env!("CARGO_PKG_VERSION")).build();
        Export { queue, provider, scope }
    }

    /// A layer for a `tracing` subscriber: spans of sampled calls, and what is in them from `INFO` on, go to
    /// OpenTelemetry.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        self.layer_at(LevelFilter::INFO)
    }

    /// As [`layer`](Self::layer), from another level on.
    pub fn layer_at<S>(&self, level: LevelFilter) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        bridged(self.provider.tracer_with_scope(self.scope.clone()), level)
    }

    /// What to [observe](crate::TraceLayer::observe) layers with: what they keep is sent as well.
    pub fn keeper(&self) -> Keeper {
        Keeper { queue: self.queue.clone(), scope: self.scope.clone() }
    }

    /// The SDK's provider, for who makes spans without `tracing`.
    pub fn provider(&self) -> &SdkTracerProvider {
        &self.provider
    }

    /// Waits until all spans that have ended are sent or given up: at the end of a program, and of a test. It
    /// takes no longer than the queue's batches may take.
    ///
    /// Cancel safety: dropping it changes nothing.
    pub async fn flush(&self) {
        self.queue.flush().await;
    }

    /// What became of spans.
    pub fn counts(&self) -> ExportCounts {
        let (sent, failed, dropped) = self.queue.counts();
        ExportCounts { sent, failed, dropped }
    }
}

/// A layer for a `tracing` subscriber that gives spans to a tracer of your own making, as [`Export::layer`] does to its
/// own: spans of calls have the parents that are on the wire, and the ids that the tracer gives them go onto it. The
/// tracer's sampler has the last word on what towpath has sampled.
pub fn bridged<S, T>(tracer: T, level: LevelFilter) -> impl Layer<S> + Send + Sync + use<S, T>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    T: Tracer + Send + Sync + 'static,
    T::Span: Send + Sync,
{
    bridge::build(BRIDGE);
    // Where in the source a span was made, on which thread, and for how long it was not polled: for each span,
    // and rarely of use.
    tracing_opentelemetry::layer()
        .with_tracer(InCalls::new(tracer))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(OnlySampled::at(level))
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

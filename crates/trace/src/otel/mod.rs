//! Spans of sampled calls in OpenTelemetry, by way of `tracing-opentelemetry`.

mod bridge;
mod config;
mod export;
mod ids;
mod keeper;
#[cfg(feature = "otlp")]
mod otlp;
mod queue;
mod sampled;
mod sampler;
mod tracer;

pub use config::{ExportConfig, ExportOptions, InvalidExport};
pub use export::{Export, ExportCounts, bridged};
pub use keeper::Keeper;
#[cfg(feature = "otlp")]
pub use otlp::{Otlp, OtlpHeaders, OtlpProtocol};
pub use sampled::OnlySampled;
pub use tracer::InCalls;

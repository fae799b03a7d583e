//! Ids in front of any other format.

use super::place;
use std::fmt;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Writer},
    },
    registry::LookupSpan,
};

/// Any format of `tracing-subscriber`, with `trace_id=… span_id=…` in front of the lines that are written within a call.
///
/// ```
/// use towpath_trace::log::WithIds;
/// let log = tracing_subscriber::fmt().event_format(WithIds::new(tracing_subscriber::fmt::format())).finish();
/// # drop(log);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct WithIds<F = Format>(F);

impl<F> WithIds<F> {
    /// In front of this format.
    pub const fn new(format: F) -> Self {
        WithIds(format)
    }
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if let Some(place) = place() {
            write!(writer, "trace_id={} span_id={} ", place.trace_id, place.span_id)?;
        }
        self.0.format_event(context, writer, event)
    }
}

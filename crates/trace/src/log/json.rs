//! One JSON object a line.

use super::place;
use serde::ser::{SerializeMap, Serializer as _};
use std::{error::Error, fmt};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// One JSON object a line: `timestamp`, `level`, `target`, `message`, within a call its `trace_id` and `span_id` and
/// whether it is `sampled`, the `spans` that are around the line by name, and all other fields under `fields`.
///
/// A format for the `fmt` layer: see the [module](self::super).
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonLines<T = SystemTime> {
    timer: T,
}

impl JsonLines {
    /// With the time in UTC, to the microsecond (RFC 3339).
    pub const fn new() -> Self {
        JsonLines { timer: SystemTime }
    }
}

impl<T> JsonLines<T> {
    /// With another timer; `()` writes none.
    pub fn with_timer<T2>(self, timer: T2) -> JsonLines<T2> {
        JsonLines { timer }
    }
}

impl<S, N, T> FormatEvent<S, N> for JsonLines<T>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
    T: FormatTime,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Vec::with_capacity(256);
        self.write(context, event, &mut line).map_err(|_| fmt::Error)?;
        line.push(b'\n');
        writer.write_str(std::str::from_utf8(&line).map_err(|_| fmt::Error)?)
    }
}

impl<T: FormatTime> JsonLines<T> {
    fn write<S, N>(
        &self,
        context: &FmtContext<'_, S, N>,
        event: &Event<'_>,
        line: &mut Vec<u8>,
    ) -> serde_json::Result<()>
    where
        S: Subscriber + for<'lookup> LookupSpan<'lookup>,
        N: for<'writer> FormatFields<'writer> + 'static,
    {
        let mut json = serde_json::Serializer::new(line);
        let mut object = json.serialize_map(None)?;
        let mut time = String::new();
        if self.timer.format_time(&mut Writer::new(&mut time)).is_ok() && !time.is_empty() {
            object.serialize_entry("timestamp", &time)?;
        }
        let about = event.metadata();
        object.serialize_entry("level", about.level().as_str())?;
        object.serialize_entry("target", about.target())?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(message) = &fields.message {
            object.serialize_entry("message", message)?;
        }
        if let Some(place) = place() {
            object.serialize_entry("trace_id", &place.trace_id.to_string())?;
            object.serialize_entry("span_id", &place.span_id.to_string())?;
            object.serialize_entry("sampled", &place.is_sampled())?;
        }
        let spans: Vec<_> = context
            .event_scope()
            .map_or(Vec::new(), |scope| scope.from_root().map(|span| span.name()).collect());
        if !spans.is_empty() {
            object.serialize_entry("spans", &spans)?;
        }
        if !fields.others.is_empty() {
            object.serialize_entry("fields", &fields.others)?;
        }
        object.end()
    }
}

/// What a line says.
#[derive(Default)]
struct Fields {
    message: Option<String>,
    others: serde_json::Map<String, serde_json::Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<serde_json::Value>) {
        self.others.insert(field.name().to_owned(), value.into());
    }

    fn put_text(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = Some(text),
            _ => self.put(field, text),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value.to_owned());
    }

    /// With all that it comes from.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(next) = source {
            text += ": ";
            text += &next.to_string();
            source = next.source();
        }
        self.put_text(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, format!("{value:?}"));
    }
}

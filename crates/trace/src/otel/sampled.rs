//! No spans within calls that are not sampled.

use towpath_core::context::current_trace;
use tracing::{Metadata, Subscriber, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::layer::{Context, Filter};

/// Lets a subscriber's layer see only what is not within a call, or is within one that is sampled: a filter for
/// layers of tracing systems, for which to make a span that is not sampled in the end costs a microsecond.
///
/// It leaves out as well what is finer than a level, `INFO` by default: libraries have spans for each frame of HTTP/2, also of
/// that by which spans are sent.
#[derive(Clone, Copy, Debug)]
pub struct OnlySampled {
    level: LevelFilter,
}

impl OnlySampled {
    /// What is at least as important as this.
    pub const fn at(level: LevelFilter) -> Self {
        OnlySampled { level }
    }
}

impl Default for OnlySampled {
    fn default() -> Self {
        OnlySampled::at(LevelFilter::INFO)
    }
}

impl<S: Subscriber> Filter<S> for OnlySampled {
    fn enabled(&self, about: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        *about.level() <= self.level && current_trace().is_none_or(|trace| trace.is_sampled())
    }

    fn callsite_enabled(&self, about: &'static Metadata<'static>) -> Interest {
        if *about.level() <= self.level { Interest::sometimes() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }
}

//! What is told about a stretch of time, and who is told.

use std::time::Duration;

/// What happened in a stretch of time, at a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// How long it was.
    pub length: Duration,
    /// How many calls were answered in it, and took time: calls that are answered on the spot never waited for
    /// anything and tell nothing.
    pub calls: u64,
    /// How long they took, in the mean; from when they were let in.
    pub latency: Duration,
    /// How many calls failed because there was too much to do (`soft`, as
    /// [`Class`](towpath_core::Class) has it).
    pub dropped: u64,
    /// Whether any call found no room.
    pub saturated: bool,
    /// What the limit was.
    pub limit: u32,
}

impl Window {
    /// How many calls were in flight, in the mean: Little's law.
    pub fn in_flight(&self) -> f64 {
        self.throughput() * self.latency.as_secs_f64()
    }

    /// How many calls were answered in a second.
    pub fn throughput(&self) -> f64 {
        self.calls as f64 / self.length.as_secs_f64().max(1e-6)
    }
}

/// Finds out how many calls at a time a service can take. A closure `FnMut(&Window) -> u32` will do.
///
/// ```
/// use std::time::Duration;
/// use towpath_limit::{Adapt, Aimd, Window};
///
/// // Half of what Aimd says, at night.
/// let (mut aimd, night) = (Aimd::new(Default::default()), true);
/// let mut own = move |window: &Window| if night { aimd.adapt(window).div_ceil(2) } else { aimd.adapt(window) };
/// let length = Duration::from_millis(250);
/// let latency = Duration::from_millis(10);
/// let window = Window { length, calls: 100, latency, dropped: 0, saturated: false, limit: 20 };
/// assert_eq!(own.adapt(&window), 10);
/// ```
pub trait Adapt: Send {
    /// The limit from here on, after this stretch of time.
    fn adapt(&mut self, window: &Window) -> u32;
}

impl<F: FnMut(&Window) -> u32 + Send> Adapt for F {
    fn adapt(&mut self, window: &Window) -> u32 {
        self(window)
    }
}

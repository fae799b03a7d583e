//! What the paths of a network are like.

use std::time::Duration;

/// What every path of a [`Network`](super::Network) is like, until it is changed. A plain value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// The shortest time that a segment takes one way. Default 1 ms.
    pub min_latency: Duration,
    /// The longest. Segments of one connection never overtake each other. Default 5 ms.
    pub max_latency: Duration,
    /// The share of segments that is lost and comes a retransmission later, with all that was sent after it:
    /// 0 to 1. Default 0.
    pub loss: f64,
    /// The most bytes that arrive together; how many it is each time is drawn. Default 1460.
    pub segment: usize,
    /// How many bytes may be on their way, or arrived and not read, before a writer has to wait. Default
    /// 64 KiB.
    pub window: usize,
    /// Bytes per second in one direction of one connection; `None`: no limit. Default `None`.
    pub bandwidth: Option<u64>,
    /// Whether a reset destroys what has arrived and was not read, as it does on some systems. Default true.
    pub reset_destroys: bool,
}

impl Default for Conditions {
    fn default() -> Self {
        Conditions {
            min_latency: Duration::from_millis(1),
            max_latency: Duration::from_millis(5),
            loss: 0.0,
            segment: 1460,
            window: 64 * 1024,
            bandwidth: None,
            reset_destroys: true,
        }
    }
}

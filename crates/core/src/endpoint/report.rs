//! What an endpoint says of its own load.

use std::{error::Error as StdError, fmt, str::FromStr, time::Duration};

/// What an endpoint says of its own load, in the metadata of an answer: how long the call had waited before it was
/// begun, and how many calls are in work. In text, `q=<microseconds>,n=<calls>`.
///
/// ```
/// use std::time::Duration;
/// use towpath_core::LoadReport;
/// let report = LoadReport { queue: Duration::from_micros(1_500), in_flight: 12 };
/// assert_eq!(report.to_string(), "q=1500,n=12");
/// assert_eq!("q=1500,n=12".parse(), Ok(report));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// How long the call had waited there; in whole microseconds on the wire.
    pub queue: Duration,
    /// How many calls were in work there.
    pub in_flight: u32,
}

/// A text is no load report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidReport;

impl LoadReport {
    /// The metadata key under which it travels.
    pub const KEY: &'static str = "load";
}

/// Parts that nobody knows yet are skipped; both known ones have to be there.
impl FromStr for LoadReport {
    type Err = InvalidReport;

    fn from_str(text: &str) -> Result<Self, InvalidReport> {
        let (mut queue, mut in_flight) = (None, None);
        for part in text.split(',') {
            match part.split_once('=').ok_or(InvalidReport)? {
                ("q", value) => queue = Some(value.parse().map_err(|_| InvalidReport)?),
                ("n", value) => in_flight = Some(value.parse().map_err(|_| InvalidReport)?),
                _ => {}
            }
        }
        let (Some(queue), Some(in_flight)) = (queue, in_flight) else { return Err(InvalidReport) };
        Ok(LoadReport { queue: Duration::from_micros(queue), in_flight })
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "q={},n={}", self.queue.as_micros(), self.in_flight)
    }
}

impl fmt::Display for InvalidReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a load report is written q=<microseconds>,n=<calls>")
    }
}

impl StdError for InvalidReport {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_report_is_refused() {
        for text in
            ["", "q=1", "n=1", "q=,n=1", "q=-1,n=1", "q=1;n=1", "q=1,n=4294967296", "q=1,n=2,", "q 1,n 2"]
        {
            assert_eq!(text.parse::<LoadReport>(), Err(InvalidReport), "{text}");
        }
        assert_eq!("n=2,x=9,q=1".parse(), Ok(LoadReport { queue: Duration::from_micros(1), in_flight: 2 }));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(micros: u64, in_flight: u32) {
            let report = LoadReport { queue: Duration::from_micros(micros), in_flight };
            prop_assert_eq!(report.to_string().parse(), Ok(report));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<LoadReport>();
        }
    }
}

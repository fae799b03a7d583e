//! What was done, for the caller: in the response's extensions.

use std::time::Duration;
use towpath_core::{EndpointId, ErrorCode};

/// The attempts of a call: in the extensions of the response, if there was more than one.
///
/// ```
/// use towpath_core::Response;
/// use towpath_retry::Attempts;
/// # let response = Response::new(());
/// let made = response.extensions().get::<Attempts>().map_or(1, Attempts::made);
/// assert_eq!(made, 1);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Attempts(pub(crate) Vec<Attempt>);

/// One attempt of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Attempt {
    /// Which one, from 0.
    pub number: u16,
    /// Whether it was a hedge.
    pub hedge: bool,
    /// Why it ended.
    pub ended: Ended,
    /// How long it took.
    pub took: Duration,
    /// Where it went, if whoever picks endpoints [said so](towpath_core::context::pick).
    pub endpoint: Option<EndpointId>,
}

/// Why an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It succeeded: this is the answer.
    Answered,
    /// It failed, with this code if it had one.
    Failed(Option<ErrorCode>),
    /// It was given up, as its time was up.
    TimedOut,
    /// It was dropped, as another one was answered or ended the call.
    Dropped,
}

impl Attempts {
    /// How many attempts were made.
    pub fn made(&self) -> u16 {
        // There are at most 100.
        self.0.len() as u16
    }

    /// One by one, in the order in which they ended.
    pub fn all(&self) -> &[Attempt] {
        &self.0
    }
}

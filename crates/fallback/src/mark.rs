//! How an answer says that it stands for another one.

use crate::Source;
use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};
use towpath_core::{BoxError, Class, Fault, Response};

/// Why an answer is not the one that was asked for: in its extensions, and (as text) under the reserved key
/// `degraded` of its metadata.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Degraded {
    /// Where the answer is from.
    pub source: Source,
    /// What the failure means that it stands for.
    pub class: Class,
    /// How old the answer is, if it was kept.
    pub age: Option<Duration>,
    error: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Degraded {
    pub(crate) fn new(source: Source, class: Class, age: Option<Duration>, error: Option<BoxError>) -> Self {
        Degraded { source, class, age, error: error.map(Arc::from) }
    }

    /// What the caller would have got: the error, or (where a failure was an answer) what that answer said.
    /// `None` if nobody could read it.
    pub fn error(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.error.as_deref()
    }

    /// The same, to keep.
    pub fn shared_error(&self) -> Option<Arc<dyn StdError + Send + Sync>> {
        self.error.clone()
    }
}

/// `MCP-W-105; last-good; age=1500`: the code of the failure (`failed` if it has none), where the answer is from, and
/// its age in ms if it was kept. Nothing of the error's text: that may name machines, and is not for strangers.
impl fmt::Display for Degraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.class.code {
            Some(code) => write!(f, "{code}; {}", self.source)?,
            None => write!(f, "failed; {}", self.source)?,
        }
        match self.age {
            Some(age) => write!(f, "; age={}", age.as_millis()),
            None => Ok(()),
        }
    }
}

/// Says in an answer that it stands for another one.
///
/// [`Marked`] does it for answers that can say so themselves ([`Degradable`]); a closure `Fn(&mut Response,
/// Degraded)` for others; `()` says nothing.
pub trait Mark<Res> {
    /// Says so.
    fn mark(&self, response: &mut Res, degraded: Degraded);

    /// Whether an answer says so already, of whatever service below: then it is no good one to keep.
    fn is_marked(&self, _response: &Res) -> bool {
        false
    }

    /// What an answer says that counts as a failure.
    fn reads(&self, _response: &Res) -> Option<BoxError> {
        None
    }
}

/// A kind of answer that can say that it stands for another one.
pub trait Degradable {
    /// Says so.
    fn degrade(&mut self, degraded: Degraded);

    /// Whether it says so.
    fn is_degraded(&self) -> bool;

    /// What it says, if it is a failure.
    fn failure(&self) -> Option<BoxError>;
}

/// Marks answers that can say so themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marked;

impl<Res: Degradable> Mark<Res> for Marked {
    fn mark(&self, response: &mut Res, degraded: Degraded) {
        response.degrade(degraded);
    }

    fn is_marked(&self, response: &Res) -> bool {
        response.is_degraded()
    }

    fn reads(&self, response: &Res) -> Option<BoxError> {
        response.failure()
    }
}

impl<Res> Mark<Res> for () {
    fn mark(&self, _: &mut Res, _: Degraded) {}
}

impl<Res, F: Fn(&mut Res, Degraded)> Mark<Res> for F {
    fn mark(&self, response: &mut Res, degraded: Degraded) {
        self(response, degraded);
    }
}

/// The reserved key, and HTTP's header.
pub(crate) const KEY: &str = "degraded";

impl<B: AsRef<[u8]>> Degradable for Response<B> {
    fn degrade(&mut self, degraded: Degraded) {
        // The key is fine, and so the entry is.
        let _ = self.metadata_mut().insert(KEY, degraded.to_string());
        self.extensions_mut().insert(degraded);
    }

    fn is_degraded(&self) -> bool {
        self.metadata().get(KEY).is_some()
    }

    fn failure(&self) -> Option<BoxError> {
        Some(Fault::from_response(self).ok()?.into())
    }
}

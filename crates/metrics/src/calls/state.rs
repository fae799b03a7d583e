//! What the services and the calls of one layer share.

use super::book::{Book, Place};
use crate::{
    Metrics,
    names::{
        ATTEMPTS_IN_FLIGHT, CLIENT_ATTEMPT, CLIENT_CALL, CLIENT_IN_FLIGHT, Metric, SERVER_CALL,
        SERVER_IN_FLIGHT,
    },
};
use std::{any::Any, sync::Arc};
use towpath_core::{EndpointId, ErrorKind, Method};

use super::outcome::Outcome;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Whole calls, on the side of the caller.
    Client,
    /// Attempts.
    Attempt,
    /// Calls, on the side of the callee.
    Server,
}

/// Where an endpoint is, by its id.
pub(crate) type Locate = Arc<dyn Fn(EndpointId) -> Option<Arc<str>> + Send + Sync>;

/// What the services of one layer share.
pub(crate) struct State<H> {
    pub(crate) about: About,
    pub(crate) hooks: H,
}

/// What a layer is, whatever the types of its calls are.
#[derive(Clone)]
pub(crate) struct About {
    pub(crate) metrics: Metrics,
    pub(crate) book: Arc<Book>,
    pub(crate) locate: Option<Locate>,
    pub(crate) kept: Vec<Arc<dyn Any + Send + Sync>>,
}

impl Role {
    pub(crate) const fn metric(self) -> &'static Metric {
        match self {
            Role::Client => &CLIENT_CALL,
            Role::Attempt => &CLIENT_ATTEMPT,
            Role::Server => &SERVER_CALL,
        }
    }

    pub(crate) const fn in_flight(self) -> &'static Metric {
        match self {
            Role::Client => &CLIENT_IN_FLIGHT,
            Role::Attempt => &ATTEMPTS_IN_FLIGHT,
            Role::Server => &SERVER_IN_FLIGHT,
        }
    }
}

/// The place of a method that has none.
pub(super) const NOWHERE: u32 = u32::MAX;

impl About {
    /// A call begins. The place of its method, or, if it has none yet and is to get one when it is known how the call
    /// ends, the method. `last` is the place of the one that was called last.
    #[inline]
    pub(crate) fn begin(&self, method: Option<&Method>, last: u32) -> (u32, Option<Box<Method>>) {
        match self.book.begin(method.map_or(&[], |method| method.as_bytes()), last) {
            Some(place) => (place, None),
            None => self.begin_new(method),
        }
    }

    #[cold]
    fn begin_new(&self, method: Option<&Method>) -> (u32, Option<Box<Method>>) {
        let Some(method) = method else { return (NOWHERE, None) };
        match self.book.role {
            // It may be one that there is not.
            Role::Server => (NOWHERE, Some(Box::new(method.clone()))),
            Role::Client | Role::Attempt => (self.book.settle(method.as_str()).unwrap_or(NOWHERE), None),
        }
    }

    /// Where a call is counted that has ended.
    #[inline]
    pub(crate) fn place(
        &self,
        known: u32,
        new: Option<&Method>,
        outcome: &Outcome,
        endpoint: Option<EndpointId>,
    ) -> Place {
        let method = match known {
            NOWHERE => match self.settle(new, outcome) {
                Some(place) => place,
                None => return Place::None,
            },
            place => place,
        };
        match endpoint {
            None => Place::Method(method),
            Some(endpoint) => {
                let locate = || {
                    let found = self.locate.as_ref().and_then(|locate| locate(endpoint));
                    found.unwrap_or_else(|| format!("{:016x}", endpoint.0).into())
                };
                self.book.at(method, endpoint.0, locate).map_or(Place::Method(method), Place::End)
            }
        }
    }

    #[cold]
    fn settle(&self, method: Option<&Method>, outcome: &Outcome) -> Option<u32> {
        // Whoever asks for what there is not can make up names without end.
        let unknown = |code| ErrorKind::from_code(code) == Some(ErrorKind::UnknownMethod);
        if outcome.code.as_ref().is_some_and(|code| unknown(code.as_str())) {
            return None;
        }
        self.book.settle(method?.as_str())
    }
}

//! Which endpoint an attempt went to: said below, heard above, without anything handed from one to the other.

use super::EndpointId;
use std::{cell::Cell, marker::PhantomData};

/// Nobody has an endpoint with this id: ids count up from 0, or are hashes.
const NONE: u64 = u64::MAX;

thread_local! {
    static PICKED: Cell<u64> = const { Cell::new(NONE) };
}

/// Says which endpoint the attempt that is being called or polled on this thread goes to. Whoever picks
/// endpoints says it when it picks; nobody has to listen. The last word counts.
#[inline]
pub fn pick(endpoint: EndpointId) {
    PICKED.set(endpoint.0);
}

/// Listens for the endpoint that an attempt [goes to](pick), from here on until this is dropped: for who plans
/// attempts, and wants the next one to go elsewhere, also while this one still waits. It is held while an attempt
/// is called or polled.
///
/// ```
/// use towpath_core::{EndpointId, context::{Listen, pick}};
/// let listen = Listen::new();
/// pick(EndpointId(7)); // somewhere below
/// assert_eq!(listen.heard(), Some(EndpointId(7)));
/// ```
#[derive(Debug)]
#[must_use = "it listens until it is dropped"]
pub struct Listen {
    /// What is for whoever listens further up.
    outer: u64,
    /// It is of this thread.
    here: PhantomData<*const ()>,
}

impl Listen {
    /// Begins to listen.
    #[inline]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Listen { outer: PICKED.replace(NONE), here: PhantomData }
    }

    /// What was said so far.
    #[inline]
    pub fn heard(&self) -> Option<EndpointId> {
        match PICKED.get() {
            NONE => None,
            id => Some(EndpointId(id)),
        }
    }
}

impl Drop for Listen {
    #[inline]
    fn drop(&mut self) {
        PICKED.set(self.outer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn each_hears_what_was_said_within() {
        let outer = Listen::new();
        pick(EndpointId(1));
        let inner = Listen::new();
        assert_eq!(inner.heard(), None);
        pick(EndpointId(2));
        pick(EndpointId(3));
        assert_eq!(inner.heard(), Some(EndpointId(3)));
        drop(inner);
        assert_eq!(outer.heard(), Some(EndpointId(1)));
        let panics = || {
            let _listen = Listen::new();
            pick(EndpointId(4));
            std::panic::resume_unwind(Box::new("on purpose"))
        };
        assert!(catch_unwind(|| -> () { panics() }).is_err());
        assert_eq!(outer.heard(), Some(EndpointId(1)));
    }
}

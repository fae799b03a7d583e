//! The endpoints as they are at one moment: what a pick reads.

use crate::{gauge::Key, pick::Tuning};
use std::sync::{Arc, Mutex, PoisonError};
use towpath_core::Endpoint;

/// The endpoints as they are at one moment. Replaced whole when there is another set.
pub(crate) struct Snapshot<S, T> {
    /// In the same order as the two below.
    pub(crate) keys: Box<[Key]>,
    pub(crate) endpoints: Box<[Arc<Endpoint>]>,
    pub(crate) stacks: Box<[Arc<Spare<S>>]>,
    pub(crate) table: T,
    pub(crate) tuning: Tuning,
    /// Whether it is known which endpoints there are.
    pub(crate) settled: bool,
}

/// The stack of an endpoint, never readied: what is cloned for use.
pub(crate) struct Spare<S>(Mutex<S>);

impl<S> Spare<S> {
    pub(crate) fn new(stack: S) -> Self {
        Spare(Mutex::new(stack))
    }
}

impl<S: Clone> Spare<S> {
    pub(crate) fn fresh(&self) -> S {
        // A clone that panicked has changed nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

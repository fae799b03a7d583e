//! What the services keep: one book each, shared by a service's replicas, as a database would be. A book
//! outlives its replicas' listeners, connections and handlers.
//!
//! Whoever asks a book for something twice gets it once. Whoever takes something back, and then asks for it
//! after all (a request that was on its way for long), gets nothing: what was taken back stays back.

mod orders;
mod points;
mod stock;

pub(crate) use orders::{Begun, Grant, Kept, OrderBook, Refusal, Run, State};
pub(crate) use points::PointsBook;
pub(crate) use stock::{RunId, Standing, StockBook, StockError};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether a request changed a book, or had done so before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// Now.
    Now,
    /// Before: this is a repetition, and nothing changed.
    Before,
}

/// What was asked for had been taken back before it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TakenBack;

/// Locks a book's inside. No book leaves it half changed, so a panic elsewhere while it was held is no harm.
fn lock<T>(inside: &Mutex<T>) -> MutexGuard<'_, T> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

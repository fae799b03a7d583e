//! A connection for one call.

use super::store::{Lent, Stock};
use crate::{Connection, state::Held};
use towpath_core::Loan;

/// A connection that is lent, until this is dropped.
pub(super) struct Lease<C: Connection> {
    pool: Loan<Held<Stock<C>>>,
    lent: Option<Lent<C>>,
}

impl<C: Connection> Lease<C> {
    pub(super) fn new(pool: Loan<Held<Stock<C>>>, lent: Lent<C>) -> Self {
        Lease { pool, lent: Some(lent) }
    }

    /// The connection, if it can still be used: somebody may have waited for it a while.
    pub(super) fn connection(&mut self) -> Option<&mut C> {
        let lent = self.lent.as_mut()?;
        (!lent.connection.is_closing()).then_some(&mut lent.connection)
    }
}

impl<C: Connection> Drop for Lease<C> {
    fn drop(&mut self) {
        if let Some(lent) = self.lent.take()
            && self.pool.store.give_back(lent)
        {
            self.pool.bell.notify_one();
        }
    }
}

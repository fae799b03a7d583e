//! What a call that was let through holds until it ended.

use crate::{
    cell::{Cell, Outcome, Pass},
    table::Table,
};
use std::sync::Arc;
use tokio::time::Instant;
use towpath_core::{Class, Loan, Verdict};

/// What the services of a layer share.
pub(crate) struct Common<K, C, I, R> {
    pub(crate) table: Arc<Table>,
    pub(crate) key: K,
    pub(crate) classify: C,
    pub(crate) info: I,
    pub(crate) reject: R,
    /// Waits where it would turn away.
    pub(crate) gate: bool,
}

/// A call that was let through. A probe that is dropped before it ended gives its place to another one.
pub(crate) struct Ticket<K, C, I, R> {
    pub(crate) common: Loan<Common<K, C, I, R>>,
    pub(crate) place: u32,
    pub(crate) pass: Pass,
}

impl<K, C, I, R> Ticket<K, C, I, R> {
    fn cell(&self) -> &Cell {
        self.common.table.at(self.place)
    }

    /// The call ended well at its first poll. `false`: there is more to be done, by [`Ticket::finish`].
    #[inline]
    pub(crate) fn finish_at_once(&self) -> bool {
        self.cell().finish_at_once(self.pass)
    }

    /// The call ended.
    #[inline(never)]
    pub(crate) fn finish(mut self, class: &Class, start: Instant, end: Instant) {
        let pass = self.pass;
        self.pass.slot = None;
        self.cell().finish(pass, outcome(class), start, end);
    }
}

impl<K, C, I, R> Drop for Ticket<K, C, I, R> {
    #[inline]
    fn drop(&mut self) {
        if self.pass.slot.is_some() {
            self.cell().release(self.pass);
        }
    }
}

/// What a class means here. A limit off the wire counts, softly; one of our own is no news of the callee (nor is it
/// worth another try, by which the two are told apart). The caller's own mistakes count neither way: a probe that
/// was one is made again.
#[inline]
fn outcome(class: &Class) -> Outcome {
    match class.verdict {
        Verdict::Success | Verdict::Answer => Outcome::Good,
        Verdict::Failure => Outcome::Bad { soft: class.soft },
        Verdict::Nothing if class.soft && class.useful => Outcome::Bad { soft: true },
        Verdict::Caller | Verdict::Nothing => Outcome::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_core::{Error, ErrorKind};

    #[test]
    fn what_counts() {
        let of = |kind: ErrorKind, remote| outcome(&Class::of_error(&Error::new(kind).with_remote(remote)));
        assert_eq!(outcome(&Class::SUCCESS), Outcome::Good);
        assert_eq!(outcome(&Class { verdict: Verdict::Answer, ..Class::SUCCESS }), Outcome::Good);
        assert_eq!(of(ErrorKind::ConnectionLost, false), Outcome::Bad { soft: false });
        assert_eq!(of(ErrorKind::DeadlineExceeded, false), Outcome::Bad { soft: false });
        assert_eq!(of(ErrorKind::Overloaded, true), Outcome::Bad { soft: true });
        assert_eq!(of(ErrorKind::RateLimited, true), Outcome::Bad { soft: true });
        assert_eq!(of(ErrorKind::RateLimited, false), Outcome::Nothing);
        assert_eq!(of(ErrorKind::Cancelled, false), Outcome::Nothing);
        assert_eq!(of(ErrorKind::CircuitOpen, true), Outcome::Nothing);
        assert_eq!(of(ErrorKind::Unauthenticated, true), Outcome::Nothing);
    }
}

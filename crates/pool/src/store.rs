//! Where the connections of a pool are between calls, and who waits for one: what both modes have in common.

use crate::{
    Connection, Ping,
    plan::Demand,
    queue::{Outcome, Ticket},
};
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;
use towpath_core::Error;

/// Keeps the connections, and the line of those who wait for one.
pub(crate) trait Store: Send + Sync + 'static {
    type Connection: Connection;

    /// What a call gets that has waited.
    type Grant: Send + 'static;

    /// A connection that nobody can have for the moment: its keeper looks after it.
    type Aside: Aside;

    // What callers do.

    /// Takes what there is, or a place in the line, if no more than `most` wait there.
    fn enter(&self, most: u32, impatient: bool) -> Entered<Self::Grant>;

    /// Looks after one that waits; `None`: it still does.
    fn poll(&self, ticket: &Ticket, waker: &Waker) -> Option<Outcome<Self::Grant>>;

    /// Waits no more. What was granted goes to the next one.
    fn leave(&self, ticket: &Ticket);

    // What the keeper does.

    /// Takes a new connection in.
    fn put(&self, id: u64, connection: Self::Connection, now: Instant);

    /// Has this one make no more calls. Those that are under way may end.
    fn remove(&self, id: u64);

    /// The connections go, and all who wait look again.
    fn clear(&self);

    /// A connect has failed: ends the wait of those who do not wait for another one.
    fn connect_failed(&self, error: &Error);

    /// What callers want, as far as it is known here.
    fn demand(&self) -> Demand;

    /// Lets callers know how things stand. Answers with whether the keeper is to look again, because somebody did not
    /// know that there could be more.
    fn publish(&self, standing: Standing) -> bool;

    /// How to ask this one for a sign of life, if nobody uses it and it can be asked.
    fn ask(&self, id: u64) -> Option<(Ping, Self::Aside)>;

    /// Takes one back that was aside.
    fn put_back(&self, aside: Self::Aside);

    /// One that was aside is of no more use.
    fn discard(&self, aside: Self::Aside);

    /// What has become of connections in the hands of callers.
    fn news(&self) -> News<Self::Aside>;

    fn counts(&self) -> Counts;
}

/// A connection that its keeper looks after.
pub(crate) trait Aside: Send + 'static {
    fn id(&self) -> u64;

    /// Whether it can be used again, as soon as that is known.
    fn poll_rested(&mut self, cx: &mut Context<'_>) -> Poll<bool>;
}

/// What came of a wish for a connection.
pub(crate) enum Entered<G> {
    Got(G),
    Waits {
        ticket: Ticket,
        /// Whether the keeper is to know.
        tell: bool,
    },
    /// As many wait as may.
    Full,
}

/// How things stand, as callers need to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// How many calls a connection is to take.
    pub(crate) share: usize,
    /// One more could be opened.
    pub(crate) can_grow: bool,
    /// How many connects are under way.
    pub(crate) connecting: u32,
}

/// What has become of connections in the hands of callers.
pub(crate) struct News<A> {
    /// They are to be looked after until they can be used again.
    pub(crate) tired: Vec<A>,
    /// They turned out to be of no more use.
    pub(crate) spent: Vec<u64>,
}

/// The store at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) waiting: u32,
    pub(crate) idle: u32,
    pub(crate) in_flight: usize,
}

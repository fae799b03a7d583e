//! Every order in which threads can take, wait for, give back and pass on a connection.
// Helpers of tests are not #[test] themselves.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::store::{Lent, Stock};
use crate::{
    Connection, Ended,
    queue::Outcome,
    store::{Entered, Standing, Store},
};
use loom::{
    future::block_on,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    thread,
};
use std::{
    future::{Pending, pending, poll_fn},
    task::{Poll, Waker},
};
use tokio::time::Instant;

struct Dummy;

impl Connection for Dummy {
    type Closed = Pending<Ended>;

    fn is_closing(&self) -> bool {
        false
    }

    fn closed(&self) -> Pending<Ended> {
        pending()
    }

    fn close(&self) {}
}

fn stock(connections: u64) -> Arc<Stock<Dummy>> {
    let stock = Arc::new(Stock::new());
    (1..=connections).for_each(|id| stock.put(id, Dummy, Instant::now()));
    stock
}

/// Waits for one, as a call does.
async fn take(stock: &Stock<Dummy>) -> Lent<Dummy> {
    loop {
        let ticket = match stock.enter(4, false) {
            Entered::Got(lent) => return lent,
            Entered::Waits { ticket, .. } => ticket,
            Entered::Full => panic!("there is room for all"),
        };
        let polled = poll_fn(|cx| match stock.poll(&ticket, cx.waker()) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        });
        match polled.await {
            Outcome::Granted(lent) => return lent,
            Outcome::Look => {}
            Outcome::Failed(error) => panic!("{error}"),
        }
    }
}

fn assert_rest(stock: &Stock<Dummy>, idle: u32) {
    let counts = stock.counts();
    assert_eq!((counts.waiting, counts.in_flight, counts.idle), (0, 0, idle));
}

/// One connection, three who want it: each has it in the end, and never two at a time.
#[test]
fn nobody_is_forgotten_and_nothing_is_lent_twice() {
    loom::model(|| {
        let (stock, inside) = (stock(1), Arc::new(AtomicU32::new(0)));
        let call = {
            let (stock, inside) = (stock.clone(), inside.clone());
            move || {
                let lent = block_on(take(&stock));
                assert_eq!(inside.fetch_add(1, SeqCst), 0);
                inside.fetch_sub(1, SeqCst);
                stock.give_back(lent);
            }
        };
        let others = [thread::spawn(call.clone()), thread::spawn(call.clone())];
        call();
        others.into_iter().for_each(|thread| thread.join().unwrap());
        assert_rest(&stock, 1);
    });
}

/// One gives up just as its turn comes: the next one has it.
#[test]
fn who_gives_up_passes_its_turn_on() {
    loom::model(|| {
        let stock = stock(1);
        let held = block_on(take(&stock));
        let gives_up = thread::spawn({
            let stock = stock.clone();
            move || match stock.enter(4, false) {
                Entered::Got(lent) => {
                    stock.give_back(lent);
                }
                Entered::Waits { ticket, .. } => match stock.poll(&ticket, Waker::noop()) {
                    Some(Outcome::Granted(lent)) => {
                        stock.give_back(lent);
                    }
                    Some(_) => panic!("nothing else happens"),
                    None => stock.leave(&ticket),
                },
                Entered::Full => panic!("there is room for all"),
            }
        });
        let waits = thread::spawn({
            let stock = stock.clone();
            move || {
                stock.give_back(block_on(take(&stock)));
            }
        });
        stock.give_back(held);
        gives_up.join().unwrap();
        waits.join().unwrap();
        assert_rest(&stock, 1);
    });
}

/// One line for both: of one that is given back and one that is new, each wakes one of the two who wait.
#[test]
fn one_given_back_and_one_made_are_both_for_those_who_wait() {
    loom::model(|| {
        let stock = stock(1);
        let held = block_on(take(&stock));
        let waits = |stock: &Arc<Stock<Dummy>>| {
            let stock = stock.clone();
            thread::spawn(move || block_on(take(&stock)))
        };
        let (one, other) = (waits(&stock), waits(&stock));
        stock.put(2, Dummy, Instant::now());
        stock.give_back(held);
        let (one, other) = (one.join().unwrap(), other.join().unwrap());
        assert_ne!(one.id(), other.id());
    });
}

/// A wish for one more is seen by the keeper: when it looks, or because it is told.
#[test]
fn who_waits_is_seen_by_the_keeper() {
    loom::model(|| {
        let stock = stock(0);
        stock.publish(Standing { share: 1, can_grow: false, connecting: 0 });
        let asks = thread::spawn({
            let stock = stock.clone();
            move || match stock.enter(4, false) {
                Entered::Waits { ticket, tell } => (ticket, tell),
                _ => panic!("there is none"),
            }
        });
        // As a keeper does: it looks what is wanted, then says that there could be more.
        let seen = stock.demand().more > 0;
        let again = stock.publish(Standing { share: 1, can_grow: true, connecting: 0 });
        let (ticket, told) = asks.join().unwrap();
        assert!(seen || again || told, "it would wait for ever");
        stock.leave(&ticket);
    });
}

/// The store is cleared while one is lent and another one waits: what was lent does not come back, and who waited looks again.
#[test]
fn what_was_cleared_does_not_come_back() {
    loom::model(|| {
        let stock = stock(1);
        let held = block_on(take(&stock));
        let clears = thread::spawn({
            let stock = stock.clone();
            move || {
                stock.clear();
                stock.put(2, Dummy, Instant::now());
            }
        });
        let waits = thread::spawn({
            let stock = stock.clone();
            move || {
                let lent = block_on(take(&stock));
                let id = lent.id();
                stock.give_back(lent);
                id
            }
        });
        stock.give_back(held);
        clears.join().unwrap();
        let id = waits.join().unwrap();
        assert!(id == 1 || id == 2);
        assert_rest(&stock, 1);
    });
}

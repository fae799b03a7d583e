//! Every order in which threads can wait for a connection that everybody shares, and wish for one more.
// Helpers of tests are not #[test] themselves.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::store::Commons;
use crate::{
    Connection, Ended,
    queue::Outcome,
    store::{Entered, Store},
};
use loom::{future::block_on, sync::Arc, thread};
use std::{
    future::{Pending, pending, poll_fn},
    task::Poll,
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

async fn wait(commons: &Commons<Dummy>) {
    loop {
        let ticket = match commons.enter(4, false) {
            Entered::Got(()) => return,
            Entered::Waits { ticket, tell } => {
                assert!(tell);
                ticket
            }
            Entered::Full => panic!("there is room for all"),
        };
        let polled = poll_fn(|cx| match commons.poll(&ticket, cx.waker()) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        });
        assert!(matches!(polled.await, Outcome::Look));
    }
}

/// One that is made just as somebody takes a place in the line is seen.
#[test]
fn who_waits_learns_of_a_connection() {
    loom::model(|| {
        let commons = Arc::new(Commons::new());
        let waits = {
            let commons = commons.clone();
            move || block_on(wait(&commons))
        };
        let other = thread::spawn(waits.clone());
        let makes = thread::spawn({
            let commons = commons.clone();
            move || commons.put(1, Dummy, Instant::now())
        });
        waits();
        other.join().unwrap();
        makes.join().unwrap();
        assert_eq!(commons.counts().waiting, 0);
    });
}

/// Of those who wish at a time one tells the keeper; a wish after its look is told again.
#[test]
fn a_wish_is_told_once_and_never_lost() {
    loom::model(|| {
        let commons = Arc::new(Commons::<Dummy>::new());
        let wishes = |commons: &Arc<Commons<Dummy>>| {
            let commons = commons.clone();
            thread::spawn(move || commons.wish())
        };
        let (one, other) = (wishes(&commons), wishes(&commons));
        let seen = commons.demand().grow;
        let told = u32::from(one.join().unwrap()) + u32::from(other.join().unwrap());
        let later = commons.demand().grow;
        assert!(told >= 1 && (seen || later), "the keeper is told, and finds it");
        assert!(told <= 1 + u32::from(seen && later), "once for each time that it looks");
    });
}

//! Every order in which threads can take, wait for, give back and pass on room.
// Helpers of tests are not #[test] themselves.
#![allow(clippy::unwrap_used)]

use super::{
    Gate, Line, Order,
    queue::{RANKS, Ticket},
};
use loom::{
    future::block_on,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    thread,
};
use std::{future::poll_fn, task::Context};

const LINE: Line = Line { most: 4, order: Order::OldestFirst };

fn gate(room: u32) -> Arc<Gate> {
    Arc::new(Gate::new([room; RANKS]))
}

/// Waits for room, as a call does.
async fn enter(gate: &Gate) {
    if gate.try_take(0).is_none() {
        let ticket = gate.join(0, LINE).unwrap();
        poll_fn(|cx| gate.poll(&ticket, cx)).await.unwrap();
    }
}

fn assert_empty(gate: &Gate) {
    assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));
}

/// As many as there is room for, and each in the end.
#[test]
fn nobody_is_forgotten_and_never_one_too_many() {
    loom::model(|| {
        let (gate, inside) = (gate(1), Arc::new(AtomicU32::new(0)));
        let call = {
            let (gate, inside) = (gate.clone(), inside.clone());
            move || {
                block_on(enter(&gate));
                assert_eq!(inside.fetch_add(1, SeqCst), 0);
                inside.fetch_sub(1, SeqCst);
                gate.give();
            }
        };
        let others = [thread::spawn(call.clone()), thread::spawn(call.clone())];
        call();
        others.into_iter().for_each(|thread| thread.join().unwrap());
        assert_empty(&gate);
    });
}

fn wait_once(gate: &Gate) -> Option<Ticket> {
    let ticket = gate.join(0, LINE).unwrap();
    let waker = std::task::Waker::noop();
    gate.poll(&ticket, &mut Context::from_waker(waker)).is_pending().then_some(ticket)
}

/// One gives up just as room comes free: the next one has it.
#[test]
fn who_gives_up_passes_its_turn_on() {
    loom::model(|| {
        let gate = gate(1);
        assert!(gate.try_take(0).is_some());
        let gives = thread::spawn({
            let gate = gate.clone();
            move || gate.give()
        });
        let gives_up = thread::spawn({
            let gate = gate.clone();
            move || match wait_once(&gate) {
                Some(ticket) => gate.leave(&ticket),
                None => gate.give(),
            }
        });
        block_on(enter(&gate));
        gate.give();
        gives.join().unwrap();
        gives_up.join().unwrap();
        assert_empty(&gate);
    });
}

/// More room while one begins to wait for it.
#[test]
fn a_raised_limit_is_seen_by_who_waits() {
    loom::model(|| {
        let gate = gate(1);
        assert!(gate.try_take(0).is_some());
        let raises = thread::spawn({
            let gate = gate.clone();
            move || gate.set_room([2; RANKS])
        });
        block_on(enter(&gate));
        raises.join().unwrap();
        assert_eq!((gate.in_flight(), gate.waiting()), (2, 0));
    });
}

/// A queue of one place, two who want it: one of them is turned away or pushed out, and the other gets through.
#[test]
fn who_is_pushed_out_learns_of_it() {
    loom::model(|| {
        let gate = gate(1);
        assert!(gate.try_take(0).is_some());
        let line = Line { most: 1, order: Order::NewestFirst };
        let joins = |gate: Arc<Gate>| {
            move || {
                let ticket = gate.join(0, line).unwrap();
                let through = block_on(poll_fn(|cx| gate.poll(&ticket, cx))).is_ok();
                if through {
                    gate.give();
                }
                through
            }
        };
        let other = thread::spawn(joins(gate.clone()));
        let gives = thread::spawn({
            let gate = gate.clone();
            move || gate.give()
        });
        let one = joins(gate.clone())();
        let both = one as u32 + other.join().unwrap() as u32;
        gives.join().unwrap();
        assert!(both >= 1);
        assert_empty(&gate);
    });
}

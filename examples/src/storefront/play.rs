//! Plays the day: gives the orders, and settles what was left open.

use super::{
    day::Order,
    ledger::Fate,
    policy::Call,
    services::{
        InventoryFault, OrderFault,
        wire::{
            CANCEL, Cancelled, OrderId, PLACE, Place, Placed, RECONCILE, Reconcile, Reconciled, WITHDRAW,
            Withdrawn,
        },
    },
    shop::Shop,
};
use indicatif::ProgressBar;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use towpath::{BoxError, CallError};

/// How long the shop tries to settle one thing that was left open, before it gives up on everything.
const SETTLING: Duration = Duration::from_secs(60);
/// How long it waits between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// What the callers of the orders were told.
#[derive(Default)]
pub(crate) struct Played {
    /// By order, the first is order 1.
    pub(crate) fates: Vec<Fate>,
    pub(crate) latencies: Vec<Duration>,
    /// How often which code was the reason that an order failed or was refused.
    pub(crate) reasons: BTreeMap<(Fate, String), u64>,
}

/// Gives every order of the day so many times, each time in the day's order, `inflight` at a time.
pub(crate) async fn play(
    shop: &Arc<Shop>,
    day: &Arc<Vec<Order>>,
    repeat: u32,
    inflight: u32,
    progress: &ProgressBar,
) -> Result<Played, BoxError> {
    let total = day.len() * repeat as usize;
    let next = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..inflight.min(u32::try_from(total).unwrap_or(u32::MAX)) {
        let (shop, day, next, progress) = (shop.clone(), day.clone(), next.clone(), progress.clone());
        callers.spawn(async move {
            let mut told = Vec::new();
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= total {
                    return told;
                }
                let started = Instant::now();
                let (fate, reason) = give(&shop, number as u64 + 1, &day[number % day.len()]).await;
                told.push((number, fate, started.elapsed(), reason));
                progress.inc(1);
            }
        });
    }
    let mut told = Vec::with_capacity(total);
    while let Some(caller) = callers.join_next().await {
        told.append(&mut caller?);
    }
    told.sort_unstable_by_key(|(number, ..)| *number);
    let mut played = Played::default();
    for (_, fate, latency, reason) in told {
        played.fates.push(fate);
        played.latencies.push(latency);
        if let Some(reason) = reason {
            *played.reasons.entry((fate, reason)).or_default() += 1;
        }
    }
    Ok(played)
}

/// Gives one order. Says what its caller was told, and the code if it was bad news.
async fn give(shop: &Shop, id: u64, order: &Order) -> (Fate, Option<String>) {
    let ask = Place { order: id, customer: order.customer, lines: Cow::Borrowed(&order.lines) };
    let told = if order.is_cancellation() {
        shop.order_service.call::<Cancelled>(&Call::new(CANCEL, id, &ask)).await.map(|_| Fate::Cancelled)
    } else {
        shop.order_service.call::<Placed>(&Call::new(PLACE, id, &ask)).await.map(|_| Fate::Placed)
    };
    match told {
        Ok(fate) => (fate, None),
        Err(error) => (fate_of(&error), error.code().map(|code| code.to_string())),
    }
}

/// A refusal is an answer; everything else is a failure.
fn fate_of(error: &CallError) -> Fate {
    let Some(fault) = error.fault() else { return Fate::Failed };
    match OrderFault::parse(fault.code()) {
        Some(OrderFault::BadQuantity | OrderFault::UnknownCustomer) => Fate::Rejected,
        Some(OrderFault::DeductFailed) if fault.cause() == Some(InventoryFault::Short.code()) => {
            Fate::Rejected
        }
        _ => Fate::Failed,
    }
}

/// Settles what the day left open, now that nothing goes wrong any more. This is no policy of a client but
/// what a shop does in the evening, whatever its clients do: an order whose caller was told that it failed is
/// withdrawn, whether it was carried out or not, and points that are owed are granted.
pub(crate) async fn settle(shop: &Shop, played: &mut Played) {
    for (id, fate) in (1..).zip(&mut played.fates) {
        if *fate != Fate::Failed {
            continue;
        }
        let withdrawn = until(async || {
            let ask = OrderId { order: id };
            shop.order_service.call::<Withdrawn>(&Call::new(WITHDRAW, id, &ask)).await.ok()
        });
        match withdrawn.await {
            Some(Withdrawn { stands: true }) => *fate = Fate::Cancelled,
            Some(Withdrawn { stands: false }) => {}
            None => return,
        }
    }
    until(async || {
        let reconciled = shop.order_service.call::<Reconciled>(&Call::new(RECONCILE, 0, &Reconcile {})).await;
        reconciled.ok().filter(|reconciled| reconciled.owing == 0)
    })
    .await;
}

/// Tries until there is a result, or for long enough. What is not settled then, the ledger finds.
async fn until<T>(attempt: impl AsyncFn() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + SETTLING;
    loop {
        let result = attempt().await;
        if result.is_some() || Instant::now() >= deadline {
            return result;
        }
        sleep(PAUSE).await;
    }
}

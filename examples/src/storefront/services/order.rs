//! The order service: places orders, cancels them, and takes them back when nobody learned of them.
//!
//! Its handlers may be dropped at any await point, and its calls may be applied without an answer. What keeps
//! the books right all the same:
//!
//! - An order has one handler at a time and a key for its bookings, its run. A handler that goes on with an
//!   open order uses the same key, so what is booked already is not booked again.
//! - Before an order is refused or given up, the whole run is taken back in one call, which also stops what
//!   is still on its way. If that cannot be done now, the order stays open, and the caller is told to come
//!   again.
//! - Calls that nobody has made before are first attempts, also for an order that is asked for again: it was refused at the
//!   door, or whoever worked on it did not come as far. Layers cannot know that. They would make no further attempt below a
//!   retry, and of six hundred lines some would fail each time.
//! - Points are owed from the moment an order is placed, in one stroke with it, until they are granted.

use super::{
    InventoryFault, OrderFault, PointsFault, UserFault,
    wire::{
        self, Booked, CANCEL, Cancelled, DEDUCT, Deduct, GET_USER, GRANT, GetUser, OrderId, PLACE, Place,
        Placed, RECONCILE, RESTOCK, REVOKE, Reconcile, Reconciled, Restock, TAKE_BACK, User, WITHDRAW, Whose,
        Withdrawn,
    },
};
use crate::storefront::{
    books::{Begun, Grant, Kept, OrderBook, Refusal, Run, State as Fate},
    day::{self, Line},
    policy::{Call, Peer},
};
use std::{borrow::Cow, sync::Arc};
use towpath::{
    CallError, Context, Fault, Json, Router, State,
    context::{self, InContext, Scope as _},
};

/// What an order replica works with: the service's book, and its own connections to the others.
pub(crate) struct Books {
    pub(crate) orders: Arc<OrderBook>,
    pub(crate) users: Peer,
    pub(crate) inventory: Peer,
    pub(crate) points: Peer,
}

type Shop = State<Arc<Books>>;

/// The service over its book.
pub(crate) fn order(books: Arc<Books>) -> Router {
    Router::new()
        .route(PLACE, place)
        .route(CANCEL, cancel)
        .route(WITHDRAW, withdraw)
        .route(RECONCILE, reconcile)
        .with_state(books)
}

async fn place(State(shop): Shop, Json(ask): Json<Place<'static>>) -> Result<Json<Placed>, Fault> {
    let Place { order, customer, lines } = ask;
    let fate = match shop.orders.begin(order, || Kept { customer, lines: lines.into_owned().into() }).await {
        Begun::Done(fate) => fate,
        Begun::Run(run) => {
            let fate = shop.place(run).await?;
            if let Some(grant) = shop.orders.owed(order) {
                // It belongs to no call: whoever placed the order does not wait for it.
                tokio::spawn(context::background(async move { shop.grant(grant).await }));
            }
            fate
        }
    };
    match fate {
        Fate::Placed { points } => Ok(Json(Placed { order, points })),
        other => Err(refused(&other)),
    }
}

async fn cancel(State(shop): Shop, Json(ask): Json<Place<'static>>) -> Result<Json<Cancelled>, Fault> {
    let Place { order, customer, lines } = ask;
    let fate = match shop.orders.begin(order, || Kept { customer, lines: lines.into_owned().into() }).await {
        Begun::Done(fate) => fate,
        Begun::Run(run) => {
            let lines = run.kept().map_or(&[][..], |kept| &kept.lines);
            let ask = Restock { whose: run.id().into(), lines: Cow::Borrowed(lines) };
            let _: Booked = shop.inventory.call(&Call::new(RESTOCK, order, &ask)).await.map_err(unreached)?;
            run.finish(Fate::Cancelled);
            Fate::Cancelled
        }
    };
    match fate {
        Fate::Cancelled => Ok(Json(Cancelled { order })),
        other => Err(refused(&other)),
    }
}

async fn withdraw(State(shop): Shop, Json(ask): Json<OrderId>) -> Result<Json<Withdrawn>, Fault> {
    if let Begun::Run(run) = shop.orders.begin_withdrawal(ask.order).await {
        let taken =
            shop.inventory.call::<Booked>(&Call::new(TAKE_BACK, ask.order, &Whose::from(run.id()))).await;
        if let Err(CallError::Fault(fault)) = &taken
            && fault.code() == InventoryFault::Short.code()
        {
            run.finish(Fate::Cancelled);
            return Ok(Json(Withdrawn { stands: true }));
        }
        taken.map_err(unreached)?;
        let _: Booked = shop.points.call(&Call::new(REVOKE, ask.order, &ask)).await.map_err(unreached)?;
        run.finish(Fate::Withdrawn);
    }
    Ok(Json(Withdrawn { stands: false }))
}

/// Grants the points that are still owed, because a grant failed or its sender was dropped.
async fn reconcile(State(shop): Shop, Json(Reconcile {}): Json<Reconcile>) -> Json<Reconciled> {
    for grant in shop.orders.all_owed() {
        shop.grant(grant).await;
    }
    Json(Reconciled { owing: shop.orders.owing() })
}

impl Books {
    /// Works on an order until it is placed or refused. On an error it is still open.
    async fn place(&self, mut run: Run) -> Result<Fate, Fault> {
        let Some(kept) = run.kept().cloned() else { return Ok(Fate::Withdrawn) };
        let refuse = |run: Run, why| {
            let fate = Fate::Rejected(why);
            run.finish(fate.clone());
            Ok(fate)
        };
        if kept.lines.iter().any(|line| line.quantity <= 0) {
            return refuse(run, Refusal::BadQuantity);
        }
        // A line is booked for somebody who was known.
        if let (Some(id), 0) = (kept.customer, run.booked()) {
            let ask = GetUser { id };
            let call = Call::new(GET_USER, id, &ask);
            match attempt(run.is_first(), self.users.call::<User>(&call)).await {
                Ok(_) => {}
                Err(CallError::Fault(fault)) if fault.code() == UserFault::NoSuchUser.code() => {
                    self.take_back(&mut run).await?;
                    return refuse(run, Refusal::UnknownCustomer);
                }
                Err(error) => return Err(unreached(error)),
            }
        }
        loop {
            match self.deduct_all(&mut run, &kept.lines).await {
                Ok(()) => break,
                Err(CallError::Fault(fault)) if fault.code() == InventoryFault::TakenBack.code() => {
                    // An earlier handler took the run back and was dropped before it could write that down.
                    run.renew();
                }
                Err(CallError::Fault(fault)) if fault.code() == InventoryFault::Short.code() => {
                    self.take_back(&mut run).await?;
                    return refuse(run, Refusal::Short);
                }
                Err(error) => {
                    self.take_back(&mut run).await?;
                    return Err(unreached(error));
                }
            }
        }
        let fate = Fate::Placed { points: day::points(&kept.lines) };
        run.finish(fate.clone());
        Ok(fate)
    }

    /// Books what is not booked yet.
    async fn deduct_all(&self, run: &mut Run, lines: &[Line]) -> Result<(), CallError> {
        let begun = run.booked();
        for (number, line) in (0..).zip(lines).skip(begun) {
            let ask = Deduct {
                whose: run.id().into(),
                line: number,
                code: Cow::Borrowed(&line.code),
                quantity: line.quantity,
            };
            let is_new = run.is_first() || run.booked() > begun;
            let call = Call::new(DEDUCT, run.id().order, &ask);
            let _: Booked = attempt(is_new, self.inventory.call(&call)).await?;
            run.book_line();
        }
        Ok(())
    }

    /// Takes back what the run has booked, and goes over to the next one.
    async fn take_back(&self, run: &mut Run) -> Result<(), Fault> {
        let id = run.id();
        let _: Booked = self
            .inventory
            .call(&Call::new(TAKE_BACK, id.order, &Whose::from(id)))
            .await
            .map_err(unreached)?;
        run.renew();
        Ok(())
    }

    /// Sends points that are owed. If that fails they stay owed.
    async fn grant(&self, grant: Grant) {
        let Grant { order, customer, points, .. } = grant;
        let ask = wire::Grant { order, customer, points };
        match self.points.call::<Booked>(&Call::new(GRANT, order, &ask).asynchronous()).await {
            Ok(_) => grant.settled(),
            Err(CallError::Fault(fault)) if fault.code() == PointsFault::TakenBack.code() => grant.settled(),
            Err(_) => {}
        }
    }
}

/// Makes a call: as a first attempt if nobody has made it before, whatever brought us here.
fn attempt<F: Future>(is_new: bool, call: F) -> InContext<F> {
    let mut context = Context::inherit();
    if is_new {
        context.set_attempt(0);
    }
    call.with_context(context)
}

/// The fault of an order that came to nothing.
fn refused(fate: &Fate) -> Fault {
    match fate {
        Fate::Rejected(Refusal::BadQuantity) => OrderFault::BadQuantity.into(),
        Fate::Rejected(Refusal::UnknownCustomer) => {
            OrderFault::UnknownCustomer.fault().wrap(&UserFault::NoSuchUser.into())
        }
        Fate::Rejected(Refusal::Short) => {
            OrderFault::DeductFailed.fault().wrap(&InventoryFault::Short.into())
        }
        Fate::Open | Fate::Placed { .. } | Fate::Cancelled | Fate::Withdrawn => OrderFault::Withdrawn.into(),
    }
}

/// Another service could not be had, whether it failed or nobody answered.
fn unreached(error: CallError) -> Fault {
    error.wrapped_in(OrderFault::Unreached)
}

//! What the services say to each other, as JSON. Whoever changes something is told whose it is (an order, a
//! run of it, a line), so that a repetition is known for one.

use crate::storefront::{books::RunId, day::Line};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

pub(crate) const GET_USER: &str = "UserService.GetUserInfo";
pub(crate) const DEDUCT: &str = "InventoryService.Deduct";
pub(crate) const RESTOCK: &str = "InventoryService.Restock";
pub(crate) const TAKE_BACK: &str = "InventoryService.TakeBack";
pub(crate) const GRANT: &str = "PointsService.Grant";
pub(crate) const REVOKE: &str = "PointsService.Revoke";
pub(crate) const PLACE: &str = "OrderService.Place";
pub(crate) const CANCEL: &str = "OrderService.Cancel";
pub(crate) const WITHDRAW: &str = "OrderService.Withdraw";
pub(crate) const RECONCILE: &str = "OrderService.Reconcile";

#[derive(Serialize, Deserialize)]
pub(crate) struct GetUser {
    pub(crate) id: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) id: u64,
    pub(crate) name: String,
}

/// Which run at which order.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(crate) struct Whose {
    pub(crate) order: u64,
    pub(crate) run: u32,
}

impl From<RunId> for Whose {
    fn from(RunId { order, run }: RunId) -> Self {
        Whose { order, run }
    }
}

impl From<Whose> for RunId {
    fn from(Whose { order, run }: Whose) -> Self {
        RunId { order, run }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Deduct<'a> {
    pub(crate) whose: Whose,
    pub(crate) line: u32,
    pub(crate) code: Cow<'a, str>,
    pub(crate) quantity: i64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Restock<'a> {
    pub(crate) whose: Whose,
    pub(crate) lines: Cow<'a, [Line]>,
}

/// The answer to whatever changes a book.
#[derive(Serialize, Deserialize)]
pub(crate) struct Booked {
    /// It was a repetition: nothing changed.
    pub(crate) before: bool,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) order: u64,
    pub(crate) customer: u64,
    pub(crate) points: u64,
}

/// An order or a cancellation.
#[derive(Serialize, Deserialize)]
pub(crate) struct Place<'a> {
    pub(crate) order: u64,
    pub(crate) customer: Option<u64>,
    pub(crate) lines: Cow<'a, [Line]>,
}

/// The order that came of it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) order: u64,
    /// What it is worth to the customer; they are granted a little later.
    pub(crate) points: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct OrderId {
    pub(crate) order: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Cancelled {
    pub(crate) order: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Withdrawn {
    /// It could not be withdrawn: a cancellation whose goods have been sold since. It stands.
    pub(crate) stands: bool,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Reconcile {}

#[derive(Serialize, Deserialize)]
pub(crate) struct Reconciled {
    /// For how many orders points are still owed.
    pub(crate) owing: usize,
}

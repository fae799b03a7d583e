//! The user service: who is a customer.

use super::{
    UserFault,
    wire::{GET_USER, GetUser, User},
};
use std::{collections::BTreeSet, sync::Arc};
use towpath::{Json, Router, State};

/// All customers, by their numbers.
type Customers = Arc<BTreeSet<u64>>;

/// The service over its book.
pub(crate) fn user(customers: Customers) -> Router {
    Router::new().route(GET_USER, get_user).with_state(customers)
}

async fn get_user(
    State(customers): State<Customers>,
    Json(ask): Json<GetUser>,
) -> Result<Json<User>, UserFault> {
    match customers.contains(&ask.id) {
        true => Ok(Json(User { id: ask.id, name: format!("Customer {}", ask.id) })),
        false => Err(UserFault::NoSuchUser),
    }
}

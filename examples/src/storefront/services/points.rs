//! The points service: what customers have earned.

use super::{
    PointsFault,
    wire::{Booked, GRANT, Grant, OrderId, REVOKE},
};
use crate::storefront::books::{Applied, PointsBook};
use std::sync::Arc;
use towpath::{Json, Router, State};

/// The service over its book.
pub(crate) fn points(points: Arc<PointsBook>) -> Router {
    Router::new().route(GRANT, grant).route(REVOKE, revoke).with_state(points)
}

async fn grant(
    State(points): State<Arc<PointsBook>>,
    Json(ask): Json<Grant>,
) -> Result<Json<Booked>, PointsFault> {
    match points.grant(ask.order, ask.customer, ask.points) {
        Ok(applied) => Ok(Json(Booked { before: applied == Applied::Before })),
        Err(_) => Err(PointsFault::TakenBack),
    }
}

async fn revoke(State(points): State<Arc<PointsBook>>, Json(ask): Json<OrderId>) -> Json<Booked> {
    Json(Booked { before: points.take_back(ask.order) == Applied::Before })
}

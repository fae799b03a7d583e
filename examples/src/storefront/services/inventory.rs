//! The inventory service: how many there are.

use super::{
    InventoryFault,
    wire::{Booked, DEDUCT, Deduct, RESTOCK, Restock, TAKE_BACK, Whose},
};
use crate::storefront::books::{Applied, StockBook, StockError};
use std::sync::Arc;
use towpath::{Fault, Json, Router, State};

/// The service over its book.
pub(crate) fn inventory(stock: Arc<StockBook>) -> Router {
    Router::new().route(DEDUCT, deduct).route(RESTOCK, restock).route(TAKE_BACK, take_back).with_state(stock)
}

async fn deduct(
    State(stock): State<Arc<StockBook>>,
    Json(ask): Json<Deduct<'static>>,
) -> Result<Json<Booked>, Fault> {
    answer(stock.deduct(ask.whose.into(), ask.line, &ask.code, ask.quantity))
}

async fn restock(
    State(stock): State<Arc<StockBook>>,
    Json(ask): Json<Restock<'static>>,
) -> Result<Json<Booked>, Fault> {
    let lines = (0..).zip(&*ask.lines).map(|(number, line)| (number, &*line.code, line.quantity.abs()));
    answer(stock.restock(ask.whose.into(), &lines.collect::<Vec<_>>()))
}

async fn take_back(
    State(stock): State<Arc<StockBook>>,
    Json(whose): Json<Whose>,
) -> Result<Json<Booked>, Fault> {
    answer(stock.take_back(whose.into()))
}

fn answer(result: Result<Applied, StockError>) -> Result<Json<Booked>, Fault> {
    match result {
        Ok(applied) => Ok(Json(Booked { before: applied == Applied::Before })),
        Err(StockError::Short(left)) => {
            Err(InventoryFault::Short.fault_with(format!("only {left} in stock")))
        }
        Err(StockError::TakenBack) => Err(InventoryFault::TakenBack.into()),
        Err(StockError::Conflict) => Err(InventoryFault::Conflict.into()),
    }
}

//! A body as services send it: an order with five lines.

use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub(crate) struct Order {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(uint64, tag = "2")]
    customer: u64,
    #[prost(message, repeated, tag = "3")]
    lines: Vec<Line>,
    #[prost(message, optional, tag = "4")]
    ship_to: Option<Address>,
    #[prost(string, tag = "5")]
    currency: String,
    #[prost(uint64, tag = "6")]
    total_cents: u64,
    #[prost(uint64, tag = "7")]
    placed_at_ms: u64,
    #[prost(bool, tag = "8")]
    express: bool,
    #[prost(string, tag = "9")]
    note: String,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
struct Line {
    #[prost(uint64, tag = "1")]
    sku: u64,
    #[prost(string, tag = "2")]
    title: String,
    #[prost(uint32, tag = "3")]
    quantity: u32,
    #[prost(uint64, tag = "4")]
    price_cents: u64,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
struct Address {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    street: String,
    #[prost(string, tag = "3")]
    city: String,
    #[prost(string, tag = "4")]
    postcode: String,
    #[prost(string, tag = "5")]
    country: String,
}

/// 5 lines; about 640 bytes as JSON, 270 as Protobuf.
pub(crate) fn order() -> Order {
    let titles = ["Apples, 1 kg", "Oat milk \"Barista\"", "Bread", "Olive oil, 0.5 l", "Coffee, whole beans"];
    let lines = (1u32..).zip(titles).map(|(i, title)| Line {
        sku: 7_130_000 + u64::from(i) * 97,
        title: title.to_owned(),
        quantity: i,
        price_cents: 199 + u64::from(i) * 130,
    });
    Order {
        id: "ord-2026-11-22-0048211".to_owned(),
        customer: 1_001_337,
        lines: lines.collect(),
        ship_to: Some(Address {
            name: "Ada Lovelace".to_owned(),
            street: "12 St James's Square".to_owned(),
            city: "London".to_owned(),
            postcode: "SW1Y 4JH".to_owned(),
            country: "GB".to_owned(),
        }),
        currency: "GBP".to_owned(),
        total_cents: 9_437,
        placed_at_ms: 1_795_363_200_123,
        express: true,
        note: "leave with the neighbour at number 14".to_owned(),
    }
}

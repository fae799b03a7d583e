//! What a pick costs, by picker: rows that are there when they are asked for (`--only pick`).
//!
//! Of each there are two: a balancer whose picker picks once for each call, and one whose picker picks 17 times and takes
//! the last. The sixteenth part of the difference is what one pick costs, with the endpoints that it looks at in no
//! cache, if they are many.

use super::{
    By, Policy,
    subject::{Callers, Immediate, clones},
};
use crate::Failure;
use bytes::Bytes;
use std::{
    hint::black_box,
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_balance::{
    Aperture, ApertureConfig, Balance, BalanceConfig, Balancer, ConsistentHash, HashConfig, HashOptions,
    LeastRequest, Pick, Pinned, PowerOfTwo, Priorities, PriorityConfig, RoundRobin, Routes, RoutesConfig,
    View, WeightedRandom, WeightedRoundRobin, Zones, ZonesConfig,
};
use towpath_core::{DefaultClassify, Endpoint, FromContext, Request, context::Field};

type Balanced<P> = Balance<Immediate, Request, P, DefaultClassify, FromContext>;

macro_rules! rows {
    ($($name:literal => $picker:expr, $like:ident;)*) => {
        vec![$(
            row("pick over 10", $name, || Ok($like(10, $picker))),
            row("pick over 10", concat!($name, ", 17 times"), || Ok($like(10, Often($picker)))),
            row("pick over 10 000", $name, || Ok($like(10_000, $picker))),
            row("pick over 10 000", concat!($name, ", 17 times"), || Ok($like(10_000, Often($picker)))),
        )*]
    };
}

pub(super) fn policies() -> Vec<Policy> {
    rows! {
        "better of two" => PowerOfTwo::new(), alike;
        "better of two by weight" => PowerOfTwo::new(), weighted;
        "least requests" => LeastRequest, alike;
        "round robin" => RoundRobin::new(), alike;
        "weighted round robin" => WeightedRoundRobin::new(), weighted;
        "weighted random" => WeightedRandom, weighted;
        "hash" => ConsistentHash::new(HashConfig::default()), keyed;
        "hash with bounded load" => bounded(), keyed;
        "pinned" => Pinned::or(ConsistentHash::new(HashConfig::default())), keyed;
        "priorities" => Priorities::new(PriorityConfig::default(), PowerOfTwo::new()), weighted;
        "zones" => Zones::new(zone(), PowerOfTwo::new()), zoned;
        "routes" => Routes::new(routes(), PowerOfTwo::new()), zoned;
        "aperture" => Aperture::new(ApertureConfig::default(), PowerOfTwo::new()), alike;
    }
}

fn row(layer: &'static str, note: &'static str, start: fn() -> Result<Callers, Failure>) -> Policy {
    Policy { layer, by: By::Ours, note, start }
}

fn bounded() -> ConsistentHash {
    let options = HashOptions { load_bound: Some(1.5), ..HashOptions::default() };
    ConsistentHash::new(HashConfig::try_new(options).unwrap_or_default())
}

fn zone() -> ZonesConfig {
    serde_json::from_str(r#"{"zone": "a"}"#).unwrap_or_default()
}

/// Two shares, by label.
fn routes() -> RoutesConfig {
    let two = r#"{"routes": [{"to": [{"labels": {"half": "a"}, "weight": 5}, {"labels": {"half": "b"}, "weight": 95}]}]}"#;
    serde_json::from_str(two).unwrap_or_default()
}

fn over<P: Pick>(endpoints: usize, picker: P, describe: fn(usize, Endpoint) -> Endpoint) -> Balanced<P> {
    let make = |endpoint: Endpoint| {
        endpoint.state().set_ready();
        Immediate::new()
    };
    let endpoints = (0..endpoints).map(|n| describe(n, Endpoint::new(format!("mcp://10.0.0.{n}:1"))));
    Balancer::new(BalanceConfig::default()).pick_by(picker).honour_context().fixed(endpoints, make)
}

fn alike<P: Pick>(endpoints: usize, picker: P) -> Callers {
    clones(over(endpoints, picker, |_, endpoint| endpoint))
}

fn weighted<P: Pick>(endpoints: usize, picker: P) -> Callers {
    clones(over(endpoints, picker, |n, endpoint| endpoint.with_weight(1 + n as u32 % 5)))
}

fn zoned<P: Pick>(endpoints: usize, picker: P) -> Callers {
    clones(over(endpoints, picker, |n, endpoint| {
        let half = if n % 2 == 0 { "a" } else { "b" };
        endpoint.with_zone(half).with_label("half", half)
    }))
}

fn keyed<P: Pick>(endpoints: usize, picker: P) -> Callers {
    let keys = (0..4_096).map(|n| Bytes::from(format!("user-{n}"))).collect::<Vec<_>>().into();
    clones(Keyed { keys, next: 0, inner: over(endpoints, picker, |_, endpoint| endpoint) })
}

/// Gives each call another key.
struct Keyed<S> {
    keys: std::sync::Arc<[Bytes]>,
    next: usize,
    inner: S,
}

impl<S: Clone> Clone for Keyed<S> {
    fn clone(&self) -> Self {
        Keyed { keys: self.keys.clone(), next: self.keys.len() / 2, inner: self.inner.clone() }
    }
}

impl<S: Service<Request>> Service<Request> for Keyed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> S::Future {
        self.next = (self.next + 1) % self.keys.len();
        let key = self.keys[self.next].clone();
        request.context_mut().set_field(Field::AffinityKey, Some(key));
        self.inner.call(request)
    }
}

/// Picks 17 times.
struct Often<P>(P);

impl<P: Pick> Pick for Often<P> {
    type Table = P::Table;

    fn table(&self, endpoints: &[&Endpoint]) -> P::Table {
        self.0.table(endpoints)
    }

    #[inline]
    fn pick(&self, table: &P::Table, view: &View<'_>) -> Option<usize> {
        for _ in 0..16 {
            black_box(self.0.pick(black_box(table), view));
        }
        self.0.pick(table, view)
    }

    fn refresh(&self, table: &P::Table, view: &View<'_>) {
        self.0.refresh(table, view);
    }
}

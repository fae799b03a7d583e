//! By method and by label.

use super::{
    Labels, Route, RoutesConfig,
    part::Part,
    share::{Spread, by_weight, of_key, within},
};
use crate::{
    hash::KeyFrom,
    pick::{Pick, Renew, View},
};
use std::fmt;
use towpath_core::{Endpoint, Live, Method, Patterns};

/// Sends calls to some of the endpoints, by method, by label and by weight: a canary its share, reads to replicas, writes
/// to the primary. Which, the [config](RoutesConfig) says. Among them another picker picks.
///
/// The shares of targets are met exactly, give or take a few calls, whatever the number of their endpoints. Calls with an
/// affinity key are drawn by it: the same key goes to the same target in every process, and when the first target's share
/// grows only the keys that it gains move.
///
/// A call goes nowhere but where its route says: if there is no endpoint that takes it, it waits for one of those, also
/// while others are idle. So writes never reach a replica.
pub struct Routes<P> {
    config: Live<RoutesConfig>,
    spread: Spread,
    inner: P,
}

/// The routes, with the endpoints that there are.
pub struct RouteTable<T> {
    routes: Box<[Way<T>]>,
    keys: Box<[KeyFrom]>,
    all: Part<T>,
}

struct Way<T> {
    methods: Patterns,
    /// Each with where its share ends.
    to: Box<[(u32, Option<Part<T>>)]>,
    or: Box<[Part<T>]>,
}

impl<P> Routes<P> {
    /// Among the endpoints of a route `inner` picks. The config can be a [`Live`] one that is replaced while balancers
    /// run.
    pub fn new(config: impl Into<Live<RoutesConfig>>, inner: P) -> Self {
        Routes { config: config.into(), spread: Spread::new(), inner }
    }
}

impl<T> RouteTable<T> {
    #[inline]
    fn way(&self, method: Option<&Method>) -> Option<&Way<T>> {
        let is_for = |way: &&Way<T>| {
            way.methods.is_empty() || method.is_some_and(|method| way.methods.matches(method.as_bytes()))
        };
        self.routes.iter().find(is_for)
    }
}

impl<T> Way<T> {
    fn new<P: Pick<Table = T>>(route: &Route, picker: &P, endpoints: &[&Endpoint]) -> Self {
        let part = |labels: &Labels| Part::of(picker, endpoints, |endpoint| labels.fit(endpoint));
        let weights: Vec<_> = route.to.iter().map(|target| target.weight).collect();
        Way {
            methods: route.methods.clone(),
            to: by_weight(&weights).zip(route.to.iter().map(|target| part(&target.labels))).collect(),
            or: route.or.iter().filter_map(part).collect(),
        }
    }

    /// All that it may go to: those with a share first.
    fn parts(&self) -> impl Iterator<Item = &Part<T>> {
        let mut before = 0;
        let has_share = move |upto: u32| std::mem::replace(&mut before, upto) < upto;
        let to = self.to.iter().map(|(upto, part)| (*upto, part));
        let to =
            to.scan(has_share, |has_share, (upto, part)| Some(part.as_ref().filter(|_| has_share(upto))));
        to.flatten().chain(&self.or)
    }

    #[inline]
    fn pick<P: Pick<Table = T>>(&self, picker: &P, view: &View<'_>, number: u32) -> Option<usize> {
        let (_, drawn) = self.to.iter().find(|(upto, _)| within(number, *upto))?;
        let picked = drawn.as_ref().and_then(|part| part.pick(picker, view));
        picked.or_else(|| self.parts().find_map(|part| part.pick(picker, view)))
    }
}

impl<P: Pick> Pick for Routes<P> {
    type Table = RouteTable<P::Table>;

    fn is_heavy(&self) -> bool {
        self.inner.is_heavy()
    }

    fn table(&self, endpoints: &[&Endpoint]) -> Self::Table {
        let config = self.config.get();
        RouteTable {
            routes: config.routes.iter().map(|route| Way::new(route, &self.inner, endpoints)).collect(),
            keys: config.keys.clone().into(),
            all: Part::whole(&self.inner, endpoints),
        }
    }

    #[inline]
    fn pick(&self, table: &Self::Table, view: &View<'_>) -> Option<usize> {
        let Some(way) = table.way(view.method()) else { return table.all.pick(&self.inner, view) };
        let number = match way.to.len() {
            1 => 0,
            _ => of_key(&table.keys, view).unwrap_or_else(|| self.spread.next()),
        };
        way.pick(&self.inner, view, number)
    }

    fn refresh(&self, table: &Self::Table, view: &View<'_>) {
        let parts = table
            .routes
            .iter()
            .flat_map(|way| way.to.iter().filter_map(|(_, part)| part.as_ref()).chain(&way.or));
        parts.chain([&table.all]).for_each(|part| part.refresh(&self.inner, view));
    }

    fn suits(&self, table: &Self::Table, view: &View<'_>, index: usize) -> bool {
        match table.way(view.method()) {
            Some(way) => way.parts().any(|part| part.suits(&self.inner, view, index)),
            None => table.all.suits(&self.inner, view, index),
        }
    }

    fn wanted(&self, table: &Self::Table, view: &View<'_>) -> Option<Vec<usize>> {
        let is_for_all = |way: &Way<P::Table>| way.methods.is_empty();
        let rest = (!table.routes.iter().any(is_for_all)).then_some(&table.all);
        Part::wanted(table.routes.iter().flat_map(Way::parts).chain(rest), &self.inner, view)
    }

    fn listen(&self, renew: &Renew) {
        let again = renew.clone();
        self.config.listen(move || again());
        self.inner.listen(renew);
    }
}

impl<P: fmt::Debug> fmt::Debug for Routes<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes")
            .field("config", &self.config)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

//! Names and what stands behind them.

use super::{
    endpoint::{BoxEndpoint, Contested, Stated},
    error::InvalidRoute,
    hash::NameHash,
    listing::{METHODS, MethodInfo},
};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};
use towpath_core::Method;

/// Routes, fallbacks, and what went wrong with them.
pub(super) struct Table<S> {
    routes: HashMap<Method, BoxEndpoint<S>, NameHash>,
    /// By prefix, the longest first; the empty one is the router's own. They are few, and asked only for
    /// names that are unknown: a walk costs what the program has, not what the peer sent.
    fallbacks: Vec<(String, BoxEndpoint<S>)>,
    errors: Vec<InvalidRoute>,
    /// Whether the reserved method is left to the fallbacks.
    unlisted: bool,
}

/// Who answers a method.
pub(super) enum Found<'a, S> {
    Endpoint(&'a BoxEndpoint<S>),
    /// The router itself, with the list of its methods.
    Listing,
    Nobody,
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() || name.is_empty() { format!("{prefix}{name}") } else { format!("{prefix}.{name}") }
}

/// Whether a method stands below a prefix: `Shop.User.Get` below `Shop.User` and `Shop`, not below `Sho`.
fn below(prefix: &str, method: &[u8]) -> bool {
    prefix.is_empty()
        || method.strip_prefix(prefix.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'.'))
}

impl<S: 'static> Table<S> {
    /// What answers a method. Allocates nothing.
    #[inline]
    pub(super) fn find(&self, method: &Method) -> Found<'_, S> {
        match self.routes.get(method.as_bytes()) {
            Some(endpoint) => Found::Endpoint(endpoint),
            None => self.fall_back(method.as_bytes()),
        }
    }

    fn fall_back(&self, method: &[u8]) -> Found<'_, S> {
        if method == METHODS.as_bytes() && !self.unlisted {
            return Found::Listing;
        }
        match self.fallbacks.iter().find(|(prefix, _)| below(prefix, method)) {
            Some((_, endpoint)) => Found::Endpoint(endpoint),
            None => Found::Nobody,
        }
    }

    pub(super) fn unlist(&mut self) {
        self.unlisted = true;
    }

    /// All methods and what is known of them, sorted by name.
    pub(super) fn describe(&self) -> Vec<MethodInfo> {
        let mut methods: Vec<_> =
            self.routes.iter().map(|(name, endpoint)| endpoint.about().of(name.as_str())).collect();
        methods.sort_unstable_by(|one, two| one.name.cmp(&two.name));
        methods
    }

    pub(super) fn insert(&mut self, method: Method, endpoint: BoxEndpoint<S>) {
        match method.as_bytes().len() {
            0 => self.note(InvalidRoute::Empty),
            1..=Method::MAX_LEN => match self.routes.entry(method) {
                Entry::Vacant(free) => {
                    free.insert(endpoint);
                }
                Entry::Occupied(mut taken) => {
                    let method = taken.key().to_string();
                    taken.insert(Arc::new(Contested));
                    self.note(InvalidRoute::Duplicate(method));
                }
            },
            len => self.note(InvalidRoute::TooLong(len)),
        }
    }

    pub(super) fn insert_fallback(&mut self, prefix: String, endpoint: BoxEndpoint<S>) {
        match self.fallbacks.iter_mut().find(|(other, _)| *other == prefix) {
            Some((_, taken)) => {
                *taken = Arc::new(Contested);
                self.note(InvalidRoute::DuplicateFallback(prefix));
            }
            None => {
                self.fallbacks.push((prefix, endpoint));
                self.fallbacks.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
            }
        }
    }

    /// Notes a mistake, once.
    fn note(&mut self, error: InvalidRoute) {
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// Takes over all of another table, under a prefix (or none, where it is empty).
    pub(super) fn take(&mut self, prefix: &str, other: &Table<S>) {
        for (name, endpoint) in &other.routes {
            let name =
                if prefix.is_empty() { name.clone() } else { Method::from(join(prefix, name.as_str())) };
            self.insert(name, endpoint.clone());
        }
        for (inner, endpoint) in &other.fallbacks {
            self.insert_fallback(join(prefix, inner), endpoint.clone());
        }
        for error in &other.errors {
            self.note(match error {
                InvalidRoute::Duplicate(method) => InvalidRoute::Duplicate(join(prefix, method)),
                InvalidRoute::DuplicateFallback(inner) => {
                    InvalidRoute::DuplicateFallback(join(prefix, inner))
                }
                other => other.clone(),
            });
        }
    }

    /// The same table with the state filled in.
    pub(super) fn with_state<Any>(&self, state: S) -> Table<Any>
    where
        S: Send + Sync,
    {
        let state = Arc::new(state);
        let fill = |inner: &BoxEndpoint<S>| -> BoxEndpoint<Any> {
            Arc::new(Stated { inner: inner.clone(), state: state.clone() })
        };
        Table {
            routes: self.routes.iter().map(|(name, inner)| (name.clone(), fill(inner))).collect(),
            fallbacks: self.fallbacks.iter().map(|(name, inner)| (name.clone(), fill(inner))).collect(),
            errors: self.errors.clone(),
            unlisted: self.unlisted,
        }
    }

    /// All methods, sorted.
    pub(super) fn methods(&self) -> Vec<&str> {
        let mut methods: Vec<_> = self.routes.keys().map(Method::as_str).collect();
        methods.sort_unstable();
        methods
    }

    pub(super) fn errors(&self) -> &[InvalidRoute] {
        &self.errors
    }
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Table { routes: HashMap::default(), fallbacks: Vec::new(), errors: Vec::new(), unlisted: false }
    }
}

impl<S> Clone for Table<S> {
    fn clone(&self) -> Self {
        Table {
            routes: self.routes.clone(),
            fallbacks: self.fallbacks.clone(),
            errors: self.errors.clone(),
            unlisted: self.unlisted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::{endpoint::Endpoint, future::ResponseFuture};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use towpath_core::{Request, Response};

    struct Nothing;

    impl Endpoint<()> for Nothing {
        fn call(&self, _: Request, _: &()) -> ResponseFuture {
            ResponseFuture::refused(Response::default())
        }
    }

    fn table(names: &[&'static str], fallbacks: &[&str]) -> Table<()> {
        let mut table = Table::default();
        for name in names {
            table.insert(Method::from_static(name), Arc::new(Nothing));
        }
        for prefix in fallbacks {
            table.insert_fallback(prefix.to_string(), Arc::new(Nothing));
        }
        table
    }

    #[test]
    fn prefixes_end_at_dots() {
        assert!(below("Shop.User", b"Shop.User.Get") && below("Shop", b"Shop.User.Get") && below("", b"X"));
        assert!(!below("Sho", b"Shop.User") && !below("Shop", b"Shop") && !below("Shop.User", b"Shop"));
    }

    #[test]
    fn the_longest_prefix_answers() {
        let t = table(&[], &["", "Shop.User", "Shop"]);
        let order: Vec<_> = t.fallbacks.iter().map(|(prefix, _)| prefix.as_str()).collect();
        assert_eq!(order, ["Shop.User", "Shop", ""]);
    }

    #[test]
    fn names_nobody_can_send_are_left_out() {
        let mut t = table(&[""], &[]);
        t.insert(Method::from("x".repeat(65_536)), Arc::new(Nothing));
        t.insert(Method::from("x".repeat(65_535)), Arc::new(Nothing));
        assert_eq!(t.errors(), [InvalidRoute::Empty, InvalidRoute::TooLong(65_536)]);
        assert_eq!(t.methods().len(), 1);
    }

    #[test]
    fn mistakes_are_noted_once_and_keep_their_names() {
        let inner = table(&["Get", "Get", "Get"], &["", ""]);
        let mut outer = table(&["User.Get"], &[]);
        outer.take("User", &inner);
        let twice = InvalidRoute::Duplicate("User.Get".into());
        assert_eq!(outer.errors(), [twice, InvalidRoute::DuplicateFallback("User".into())]);
    }

    proptest! {
        /// Whatever is put together, a name is found if and only if it was put in.
        #[test]
        fn what_is_put_in_is_found(
            parts in proptest::collection::btree_map("[A-C]{0,2}", proptest::collection::btree_set("[a-c.]{1,3}", 0..5), 0..5),
            asked in "[A-C]{0,2}\\.?[a-c.]{0,3}",
        ) {
            let mut whole = Table::default();
            let mut model = BTreeMap::<String, usize>::new();
            for (prefix, names) in &parts {
                let mut part = Table::default();
                for name in names {
                    part.insert(Method::from(name.clone()), Arc::new(Nothing));
                    *model.entry(join(prefix, name)).or_default() += 1;
                }
                whole.take(prefix, &part);
            }
            prop_assert_eq!(whole.methods(), model.keys().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(whole.errors().len(), model.values().filter(|n| **n > 1).count());
            let found = matches!(whole.find(&Method::from(asked.clone())), Found::Endpoint(_));
            prop_assert_eq!(found, model.contains_key(&asked));
        }
    }
}

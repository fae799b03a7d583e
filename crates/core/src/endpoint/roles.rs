//! Who finds endpoints, who makes stacks for them, and who says how busy they are.

use super::describe::Endpoint;
use crate::EndpointId;
use std::{
    collections::VecDeque,
    ops::DerefMut,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// Makes the stack for one target, of one endpoint above all. It cannot fail: a stack that cannot be
/// connected yet is one that is not ready.
///
/// Closures `Fn(T) -> S` are factories.
///
/// ```
/// use towpath_core::{Endpoint, NewService};
/// let factory = |endpoint: Endpoint| format!("a stack for {endpoint}");
/// assert_eq!(factory.new_service(Endpoint::new("a:1")), "a stack for a:1");
/// ```
pub trait NewService<T> {
    /// The stack.
    type Service;

    /// Makes the stack for a target. It neither waits nor spawns.
    fn new_service(&self, target: T) -> Self::Service;
}

impl<F, T, S> NewService<T> for F
where
    F: Fn(T) -> S,
{
    type Service = S;

    fn new_service(&self, target: T) -> S {
        self(target)
    }
}

/// How busy one endpoint is: the picker compares two and takes the lesser.
pub trait Load {
    /// What is compared.
    type Metric: PartialOrd;

    /// How busy it is at this moment. It is asked on the path of a call: a few loads, no lock.
    fn load(&self) -> Self::Metric;
}

/// The load that its state has.
impl Load for Endpoint {
    type Metric = f64;

    fn load(&self) -> f64 {
        self.state().load()
    }
}

impl<L: Load + ?Sized> Load for &L {
    type Metric = L::Metric;

    fn load(&self) -> L::Metric {
        (**self).load()
    }
}

impl<L: Load + ?Sized> Load for Arc<L> {
    type Metric = L::Metric;

    fn load(&self) -> L::Metric {
        (**self).load()
    }
}

/// What happened to the set of endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is a new one; or one of the same id is described anew.
    Insert(Endpoint),
    /// One is no more. What is under way there may finish.
    Remove(EndpointId),
    /// For now this is all: until it was said once, an empty set only means that nobody knows yet.
    Settled,
}

/// A stream of changes to the set of endpoints that answer for one service.
///
/// It does not fail: a source that cannot be asked keeps the set as it was and tries again. It is cancel
/// safe: a change is delivered once, and is not lost when a poll is.
pub trait Discover {
    /// The next change; `None`: there will be no more, and the set stays as it is.
    fn poll_change(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>>;
}

impl<P> Discover for Pin<P>
where
    P: DerefMut + Unpin,
    P::Target: Discover,
{
    fn poll_change(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        self.get_mut().as_mut().poll_change(cx)
    }
}

impl<D: Discover + Unpin + ?Sized> Discover for Box<D> {
    fn poll_change(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        Pin::new(&mut **self).poll_change(cx)
    }
}

/// A set of endpoints that never changes.
#[derive(Clone, Debug)]
pub struct Fixed(VecDeque<Change>);

impl Fixed {
    /// These and no others.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let mut changes: VecDeque<_> = endpoints.into_iter().map(Change::Insert).collect();
        changes.push_back(Change::Settled);
        Fixed(changes)
    }
}

impl Discover for Fixed {
    fn poll_change(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Change>> {
        Poll::Ready(self.0.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_fixed_set_is_told_once_and_ends() {
        let (a, b) = (Endpoint::new("a"), Endpoint::new("b"));
        let mut boxed: Pin<Box<dyn Discover>> = Box::pin(Fixed::new([a.clone(), b.clone()]));
        let mut cx = Context::from_waker(Waker::noop());
        let mut told = Vec::new();
        while let Poll::Ready(Some(change)) = Pin::new(&mut boxed).poll_change(&mut cx) {
            told.push(change);
        }
        assert_eq!(told, [Change::Insert(a), Change::Insert(b), Change::Settled]);
        assert_eq!(boxed.as_mut().poll_change(&mut cx), Poll::Ready(None));
        let mut unpin: Box<dyn Discover + Unpin> = Box::new(Fixed::new([]));
        assert_eq!(Pin::new(&mut unpin).poll_change(&mut cx), Poll::Ready(Some(Change::Settled)));
    }

    #[test]
    fn the_load_is_that_of_the_state() {
        let endpoint = Endpoint::new("a");
        endpoint.state().set_load(2.5);
        assert_eq!(Load::load(&Arc::new(&endpoint)), 2.5);
    }
}

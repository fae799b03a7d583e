//! A stream of endpoints that are checked.

use super::{checker::HealthChecker, shared::By};
use pin_project_lite::pin_project;
use std::{
    collections::HashSet,
    convert::Infallible,
    fmt,
    future::{pending, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};
use towpath_core::{Change, Discover, EndpointId};

pin_project! {
    /// A stream of changes of which the endpoints are checked: see [`HealthChecker::through`]. It keeps the checker going.
    ///
    /// An endpoint that is to be unhealthy until its first probe is so before whoever follows this stream hears of it.
    pub struct Checked<D> {
        own: Own,
        #[pin]
        discover: D,
    }
}

/// The endpoints that this stream has told of: checked until it is dropped.
struct Own {
    checker: HealthChecker,
    ids: HashSet<EndpointId>,
}

impl Own {
    fn hear(&mut self, change: &Change) {
        match change {
            Change::Insert(endpoint) => {
                let by = if self.ids.insert(endpoint.id()) { By::Stream } else { By::SameStream };
                self.checker.insert(endpoint, by);
            }
            Change::Remove(id) => {
                if self.ids.remove(id) {
                    self.checker.take(*id, By::Stream);
                }
            }
            Change::Settled => {}
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for id in self.ids.drain() {
            self.checker.take(id, By::Stream);
        }
    }
}

impl<D> Checked<D> {
    pub(super) fn new(checker: HealthChecker, discover: D) -> Self {
        Checked { own: Own { checker, ids: HashSet::new() }, discover }
    }

    /// Who checks them.
    pub fn checker(&self) -> &HealthChecker {
        &self.own.checker
    }
}

impl<D: Discover> Checked<D> {
    /// Follows the changes where nobody else does: to be spawned. It does not end; the endpoints are checked until it
    /// is dropped.
    pub async fn run(self) -> Infallible {
        let mut this = pin!(self);
        while poll_fn(|cx| this.as_mut().poll_change(cx)).await.is_some() {}
        pending().await
    }
}

impl<D: Discover> Discover for Checked<D> {
    fn poll_change(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        let this = self.project();
        this.own.checker.keep_going();
        let change = ready!(this.discover.poll_change(cx));
        if let Some(change) = &change {
            this.own.hear(change);
        }
        Poll::Ready(change)
    }
}

impl<D> fmt::Debug for Checked<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked").field("checker", &self.own.checker).finish_non_exhaustive()
    }
}

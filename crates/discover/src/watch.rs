//! One who follows the endpoints of a name.

use crate::{
    NameHandle, Snapshot,
    shared::{Ear, Shared},
};
use std::{
    collections::{HashMap, VecDeque},
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use towpath_core::{Change, Discover, Endpoint, EndpointId, Error};

/// Keeps the task of a name going; when the last one is dropped, the task ends.
pub(crate) struct Interest {
    shared: Arc<Shared>,
    forget: Box<dyn Fn() + Send + Sync>,
}

impl Interest {
    pub(crate) fn new(shared: Arc<Shared>, forget: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Interest { shared, forget: Box::new(forget) })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.shared.close();
        (self.forget)();
    }
}

/// One who follows the endpoints of a name: what [`Directory::watch`](crate::Directory::watch) gives out.
///
/// The endpoints that it tells of are its own: for as long as an address is in the set, it has one id and one state with
/// this watch, and another one with another watch, since whether *this* client has a connection, and whether *its* breaker
/// asks for it to be ejected, is no other client's affair. The watch writes into the state what is discovery's to know:
/// that it is gone, and, where the source says something of it, that it drains.
///
/// It is a [`Discover`]: new endpoints and those described anew first, then those that are gone, then
/// [`Settled`](Change::Settled), which ends each batch of changes. Who is slow gets several batches as one. A clone
/// begins at the beginning, and asks nobody anything: all watches of a name share one source.
///
/// The source is asked from the first poll on. When the last watch of a name is dropped, it is let go.
pub struct Watch {
    interest: Arc<Interest>,
    ear: Ear,
    seen: Arc<Snapshot>,
    /// This watch's endpoints, by the id that the snapshot has for them.
    own: HashMap<EndpointId, Endpoint>,
    changes: VecDeque<Change>,
}

impl Watch {
    pub(crate) fn new(interest: Arc<Interest>) -> Self {
        let ear = Ear::new(interest.shared.clone());
        Watch { interest, ear, seen: Arc::default(), own: HashMap::new(), changes: VecDeque::new() }
    }

    /// What is watched: most often a URL.
    pub fn name(&self) -> &Arc<str> {
        &self.interest.shared.name
    }

    /// The endpoints as they are now, whatever this watch has told of them so far.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.interest.shared.lock().snapshot.clone()
    }

    /// To look at the name and its source. It keeps neither going.
    pub fn handle(&self) -> NameHandle {
        NameHandle::new(self.interest.shared.clone())
    }

    /// Waits until something is known of the name: an empty set too is something. Any number of callers wait for the
    /// one look-up.
    ///
    /// Cancel safety: nothing is lost; the look-up goes on for as long as the watch is there.
    ///
    /// # Errors
    /// MCP-W-106 if nothing is known and the look-up fails. It is tried again all the same, and who asks again waits
    /// for that.
    pub async fn settled(&self) -> Result<Arc<Snapshot>, Error> {
        let mut ear = Ear::new(self.interest.shared.clone());
        let failed = self.interest.shared.lock().report.failed;
        poll_fn(|cx| {
            ear.poll(cx, |state| match &state.report.error {
                _ if state.snapshot.is_settled() || state.ended => Poll::Ready(Ok(state.snapshot.clone())),
                Some(error) if state.report.failed != failed => Poll::Ready(Err(error.clone())),
                _ => Poll::Pending,
            })
        })
        .await
    }
}

impl Watch {
    /// What makes the own endpoints of the ones that there are now.
    fn take(&mut self, news: Arc<Snapshot>) {
        let mut theirs = VecDeque::new();
        news.since(&self.seen, &mut theirs);
        for change in theirs {
            self.changes.push_back(match change {
                Change::Insert(theirs) => {
                    let own = self.own.entry(theirs.id());
                    let own = own.or_insert_with(|| Endpoint::new(theirs.address().clone()));
                    *own = own.described_as(&theirs);
                    Change::Insert(own.clone())
                }
                Change::Remove(id) => match self.own.remove(&id) {
                    Some(own) => {
                        own.state().set_gone();
                        Change::Remove(own.id())
                    }
                    None => continue,
                },
                Change::Settled => Change::Settled,
            });
        }
        for (id, draining) in news.drained_since(&self.seen) {
            if let Some(own) = self.own.get(&id) {
                own.state().set_draining(draining);
            }
        }
        self.seen = news;
    }
}

impl Discover for Watch {
    fn poll_change(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        let this = self.get_mut();
        loop {
            if let Some(change) = this.changes.pop_front() {
                return Poll::Ready(Some(change));
            }
            let seen = this.seen.version();
            let news = ready!(this.ear.poll(cx, |state| match state.snapshot.version() != seen {
                true => Poll::Ready(Some(state.snapshot.clone())),
                false if state.ended => Poll::Ready(None),
                false => Poll::Pending,
            }));
            let Some(news) = news else { return Poll::Ready(None) };
            this.take(news);
        }
    }
}

impl Clone for Watch {
    fn clone(&self) -> Self {
        Watch::new(self.interest.clone())
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.ear.shared();
        f.debug_struct("Watch")
            .field("name", &shared.name)
            .field("source", &shared.about)
            .finish_non_exhaustive()
    }
}

//! Calls as they end, for who wants to look on.

use super::event::{Ended, Listen};
use crate::Role;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};
use towpath_core::{EndpointId, Live, Method, context::TraceContext};

type Filter = Arc<dyn Fn(&Ended<'_>) -> bool + Send + Sync>;

/// Shows calls as they end, to whoever [opens](Self::open) it, as long as they look. Clones are the same. A reader that is slow loses
/// calls, and no call waits; while nobody looks, a call costs one load.
#[derive(Clone)]
pub struct Tap(Live<Vec<Arc<Reader>>>);

struct Reader {
    filter: Filter,
    send: mpsc::Sender<Tapped>,
    lost: AtomicU64,
}

/// A call that has ended, as a [`Tap`] shows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tapped {
    /// On which side.
    pub role: Role,
    /// What was called; of a request that does not say, the method is `-`.
    pub method: Method,
    /// How it ended: see [`Ended::outcome`].
    pub outcome: &'static str,
    /// The code, `cancelled`, `panic`, or `_OTHER`; empty for `ok`.
    pub error_type: Box<str>,
    /// When it began.
    pub start: Instant,
    /// How long it took.
    pub took: Duration,
    /// 0 for a first attempt.
    pub attempt: u16,
    /// Where it went to, if that was said.
    pub endpoint: Option<EndpointId>,
    /// Its trace.
    pub trace: Option<TraceContext>,
}

/// The calls that one reader of a [`Tap`] sees. Dropping it ends it.
pub struct Tapping {
    tap: Live<Vec<Arc<Reader>>>,
    reader: Arc<Reader>,
    receive: mpsc::Receiver<Tapped>,
}

impl Tap {
    /// Nobody looks yet.
    pub fn new() -> Self {
        Tap(Live::new(Vec::new()))
    }

    /// Begins to look at the calls that `filter` says yes to. At most `capacity` of them wait to be read (at least one); what comes
    /// while that many do is lost. The filter runs on the path of each call: it must neither block nor panic.
    pub fn open(
        &self,
        capacity: usize,
        filter: impl Fn(&Ended<'_>) -> bool + Send + Sync + 'static,
    ) -> Tapping {
        // Its bound is tokio's.
        let (send, receive) = mpsc::channel(capacity.clamp(1, 1 << 20));
        let reader = Arc::new(Reader { filter: Arc::new(filter), send, lost: AtomicU64::new(0) });
        change(&self.0, |readers| readers.push(reader.clone()));
        Tapping { tap: self.0.clone(), reader, receive }
    }

    /// How many look.
    pub fn readers(&self) -> usize {
        self.0.get().len()
    }
}

fn change(tap: &Live<Vec<Arc<Reader>>>, change: impl FnOnce(&mut Vec<Arc<Reader>>)) {
    let changed = |readers: &Vec<Arc<Reader>>| {
        let mut readers = readers.clone();
        change(&mut readers);
        Ok::<_, std::convert::Infallible>(readers)
    };
    let _ = tap.update(changed);
}

impl Listen for Tap {
    #[inline]
    fn listens(&self) -> bool {
        // Nobody ever has, most often.
        self.0.version() > 0 && self.readers() > 0
    }

    fn ended(&self, call: &Ended<'_>) {
        for reader in self.0.get().iter().filter(|reader| (reader.filter)(call)) {
            let sent = reader.send.try_reserve().map(|place| place.send(Tapped::of(call)));
            if sent.is_err() {
                reader.lost.fetch_add(1, Relaxed);
            }
        }
    }
}

impl Tapped {
    fn of(call: &Ended<'_>) -> Self {
        Tapped {
            role: call.role,
            method: call.method.cloned().unwrap_or(Method::from_static("-")),
            outcome: call.outcome,
            error_type: call.error_type.into(),
            start: call.start,
            took: call.took,
            attempt: call.attempt,
            endpoint: call.endpoint,
            trace: call.trace,
        }
    }
}

impl Tapping {
    /// The next call. It has no end as long as this lives.
    ///
    /// # Cancel safety
    /// No call is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Tapped> {
        self.receive.recv().await
    }

    /// The same for who polls.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Tapped>> {
        self.receive.poll_recv(cx)
    }

    /// How many calls were lost so far, as this was not read fast enough.
    pub fn lost(&self) -> u64 {
        self.reader.lost.load(Relaxed)
    }
}

impl Drop for Tapping {
    fn drop(&mut self) {
        change(&self.tap, |readers| readers.retain(|reader| !Arc::ptr_eq(reader, &self.reader)));
    }
}

impl Default for Tap {
    fn default() -> Self {
        Tap::new()
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("readers", &self.readers()).finish()
    }
}

impl fmt::Debug for Tapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tapping").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

//! Good answers: kept, and given again.

use super::{
    cache::Cache,
    config::LastGoodConfig,
    key::{Digests, KeyOf},
    recent::Recent,
};
use crate::{Declined, Failure, Source, Substitute, Substituted};
use bytes::Bytes;
use std::{
    fmt,
    future::{Ready, ready},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};
use tokio::time::Instant;
use towpath_core::{Clock, Live, Metadata, Response};

/// Answers with the last good answer to the same call:
/// [`FallbackLayer::last_good`](crate::FallbackLayer::last_good).
#[derive(Debug)]
pub struct LastGood<P, Res, D = Detached> {
    key: P,
    detach: D,
    store: Arc<Store<Res>>,
}

impl<P, Res> LastGood<P, Res> {
    pub(crate) fn new(key: P, config: Live<LastGoodConfig>) -> Self {
        let (digests, recent, cache) = (Digests::new(), Recent::new(), Mutex::new(Cache::new()));
        let (seen, refresh) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        let store = Store { config, seen, refresh, digests, recent, cache };
        LastGood { key, detach: Detached, store: Arc::new(store) }
    }
}

impl<P, Res, D> LastGood<P, Res, D> {
    pub(crate) fn with_detach<D2>(&self, detach: D2) -> LastGood<P, Res, D2>
    where
        P: Clone,
    {
        LastGood { key: self.key.clone(), detach, store: self.store.clone() }
    }

    pub(crate) fn handle(&self) -> LastGoodHandle<Res> {
        LastGoodHandle(self.store.clone())
    }
}

impl<Req, Res, Err, P, D> Substitute<Req, Res, Err> for LastGood<P, Res, D>
where
    Res: Clone,
    P: KeyOf<Req>,
    D: Detach<Res>,
{
    /// The key, and when the call began: so old the answer is at least.
    type Kept = Option<(u128, Option<Instant>)>;
    type Future = Ready<Result<Substituted<Res>, Declined>>;

    const LEARNS: bool = true;

    fn source(&self) -> Source {
        Source::LastGood
    }

    fn keep(&self, request: &Req, start: Option<Instant>) -> Self::Kept {
        Some((self.store.digests.digest(&self.key, request)?, start))
    }

    fn learn(&self, kept: Self::Kept, answer: &Res) {
        if let Some((key, Some(start))) = kept {
            self.store.keep(key, start, || self.detach.detach(answer));
        }
    }

    fn substitute(&self, kept: Self::Kept, _: Failure<'_, Res, Err>) -> Self::Future {
        let found = kept.and_then(|(key, _)| self.store.find(key, Clock::now()));
        ready(found.ok_or(Declined::Nothing))
    }
}

/// The answers that a layer has kept.
pub struct LastGoodHandle<Res>(Arc<Store<Res>>);

impl<Res> LastGoodHandle<Res> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.cache().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes they have together, roughly.
    pub fn bytes(&self) -> usize {
        self.0.cache().bytes()
    }

    /// Forgets them all.
    pub fn clear(&self) {
        self.0.recent.clear();
        self.0.cache().clear();
    }

    /// The config, to read it or to replace it. Smaller bounds hold from the next answer on that is kept.
    pub fn config(&self) -> &Live<LastGoodConfig> {
        &self.0.config
    }
}

impl<Res> Clone for LastGoodHandle<Res> {
    fn clone(&self) -> Self {
        LastGoodHandle(self.0.clone())
    }
}

impl<Res> fmt::Debug for LastGoodHandle<Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastGoodHandle").field("len", &self.len()).field("bytes", &self.bytes()).finish()
    }
}

pub(crate) struct Store<Res> {
    config: Live<LastGoodConfig>,
    /// Which version of the config was read the last time, and what it says of `refresh`, in ns: asked with each
    /// good answer.
    seen: AtomicU64,
    refresh: AtomicU64,
    digests: Digests,
    recent: Recent,
    cache: Mutex<Cache<Res>>,
}

impl<Res> Store<Res> {
    fn cache(&self) -> MutexGuard<'_, Cache<Res>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn refresh(&self) -> Duration {
        let version = self.config.version();
        if self.seen.load(Acquire) != version {
            self.read(version);
        }
        Duration::from_nanos(self.refresh.load(Relaxed))
    }

    #[cold]
    fn read(&self, version: u64) {
        // It may be newer than `version` says: then it is read again.
        let refresh = self.config.get().refresh().as_nanos();
        self.refresh.store(u64::try_from(refresh).unwrap_or(u64::MAX), Relaxed);
        self.seen.store(version, Release);
    }

    #[inline]
    fn keep(&self, key: u128, start: Instant, detach: impl FnOnce() -> Option<(Res, usize)>) {
        if !self.recent.is_kept(key, start, self.refresh()) {
            // Copied before anything is locked.
            let (detached, config) = (detach(), self.config.get());
            match detached {
                Some((answer, size)) => self.cache().insert(key, answer, size, start, &config),
                None => self.cache().remove(key),
            }
        }
    }
}

impl<Res: Clone> Store<Res> {
    fn find(&self, key: u128, now: Instant) -> Option<Substituted<Res>> {
        let max_age = self.config.get().max_age();
        let cache = self.cache();
        let (answer, age) = cache.get(key, now, max_age)?;
        Some(Substituted { response: answer.clone(), age: Some(age) })
    }
}

impl<Res> fmt::Debug for Store<Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Makes of an answer what is kept of it, and says how many bytes that has.
///
/// [`Detached`] is for answers that know it themselves ([`Keepable`]); a closure `Fn(&Response) ->
/// Option<(Response, usize)>` for others, `None` for an answer that is not to be kept. It is asked about good
/// answers, once in a [refresh](LastGoodConfig::refresh) for each call.
pub trait Detach<Res> {
    /// The copy, and its size.
    fn detach(&self, response: &Res) -> Option<(Res, usize)>;
}

impl<Res, F: Fn(&Res) -> Option<(Res, usize)>> Detach<Res> for F {
    fn detach(&self, response: &Res) -> Option<(Res, usize)> {
        self(response)
    }
}

/// Keeps answers that know how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detached;

impl<Res: Keepable> Detach<Res> for Detached {
    fn detach(&self, response: &Res) -> Option<(Res, usize)> {
        Some((response.detached(), response.size()))
    }
}

/// An answer that can be kept.
pub trait Keepable: Clone {
    /// A copy of its own: it holds no buffer that others are done with, and nothing that belongs to one call.
    fn detached(&self) -> Self;

    /// How many bytes it has.
    fn size(&self) -> usize;
}

impl Keepable for Response<Bytes> {
    /// Body and metadata are copied: they may be small slices of a large block that was read. Extensions and the
    /// reading of the clock stay behind.
    fn detached(&self) -> Self {
        let mut copy = Response::new(Bytes::copy_from_slice(self.body()));
        copy.set_status(self.status());
        copy.set_codec(self.codec());
        *copy.metadata_mut() = Metadata::from_checked(Bytes::copy_from_slice(self.metadata().as_wire()));
        copy
    }

    fn size(&self) -> usize {
        self.body().len() + self.metadata().as_wire().len()
    }
}

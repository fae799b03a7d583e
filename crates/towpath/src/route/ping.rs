//! A sign of life of several peers.

use crate::channel::Channel;
use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::task::JoinSet;
use towpath_core::{Endpoint, EndpointId, Error};

/// Of so many who do not answer it is said why.
const NAMED: usize = 5;

/// The ways to all endpoints that there are. The clones of a client have them, and nobody else: who holds one keeps its
/// connections.
#[derive(Default)]
pub(super) struct Ways(Mutex<BTreeMap<EndpointId, Channel>>);

impl Ways {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<EndpointId, Channel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn insert(&self, endpoint: EndpointId, channel: Channel) {
        self.lock().insert(endpoint, channel);
    }

    pub(super) fn remove(&self, endpoint: EndpointId) {
        let gone = self.lock().remove(&endpoint);
        // Freed when others can go on.
        drop(gone);
    }

    pub(super) fn get(&self, endpoint: EndpointId) -> Option<Channel> {
        self.lock().get(&endpoint).cloned()
    }
}

/// Asks all of them at the same time; answers how long the slowest took, or who did not answer.
pub(super) async fn slowest(peers: impl Iterator<Item = (Endpoint, Channel)>) -> Result<Duration, Error> {
    let mut pings = JoinSet::new();
    for (endpoint, channel) in peers {
        pings.spawn(async move {
            let answer = match channel.connection().await {
                Ok(connection) => connection.ping().await,
                Err(error) => Err(error),
            };
            (endpoint, answer)
        });
    }
    let all = pings.len();
    let (mut slowest, mut failed) = (Duration::ZERO, Vec::new());
    while let Some(answer) = pings.join_next().await {
        match answer {
            Ok((_, Ok(trip))) => slowest = slowest.max(trip),
            Ok((endpoint, Err(error))) => failed.push((endpoint, error)),
            // The runtime is ending, and with it whoever asks.
            Err(_) => {}
        }
    }
    match failed.first() {
        None => Ok(slowest),
        Some((_, first)) => {
            let mut why = format!("{} of {all} endpoints did not answer", failed.len());
            for (endpoint, error) in failed.iter().take(NAMED) {
                // To a string it cannot fail.
                let _ = write!(why, "; {}: {error}", endpoint.address());
            }
            Err(Error::wrapping(first.kind(), first.clone()).because(why))
        }
    }
}

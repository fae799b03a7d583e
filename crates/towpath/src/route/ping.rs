//! A sign of life of several peers.

use crate::channel::Channel;
use std::{fmt::Write, time::Duration};
use tokio::task::JoinSet;
use towpath_core::{Endpoint, Error};

/// Of so many who do not answer it is said why.
const NAMED: usize = 5;

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

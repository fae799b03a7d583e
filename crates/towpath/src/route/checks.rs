//! Whether the endpoints of a client are checked, and how.

use crate::channel::Channels;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use towpath_core::{Change, Discover, Live, Observe};
use towpath_health::{Checked, HealthChecker, HealthConfig, HealthEvent, PingProbe};

/// How endpoints are checked.
#[derive(Clone)]
pub(crate) enum Checks {
    /// By PING, over connections that are made as the client makes its own.
    Ping(Live<HealthConfig>),
    /// By a checker of the user's.
    Own(HealthChecker),
}

impl Checks {
    pub(super) fn checker(
        self,
        channels: &Channels,
        observe: Arc<dyn Observe<HealthEvent> + Send + Sync>,
    ) -> HealthChecker {
        match self {
            Checks::Ping(config) => {
                let channels = channels.clone();
                let probe = PingProbe::connecting_by(move |address| {
                    let channels = channels.clone();
                    async move { channels.connect(&address).await }
                });
                HealthChecker::builder(probe).config(config).observe(observe).build()
            }
            Checks::Own(checker) => checker,
        }
    }
}

/// A stream of endpoints that are checked, or not.
pub(super) enum MaybeChecked<D> {
    Plain(D),
    Checked(Checked<D>),
}

impl<D: Discover> MaybeChecked<D> {
    pub(super) fn new(discover: D, checker: Option<&HealthChecker>) -> Self {
        match checker {
            Some(checker) => MaybeChecked::Checked(checker.through(discover)),
            None => MaybeChecked::Plain(discover),
        }
    }
}

impl<D: Discover + Unpin> Discover for MaybeChecked<D> {
    fn poll_change(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        match self.get_mut() {
            MaybeChecked::Plain(discover) => Pin::new(discover).poll_change(cx),
            MaybeChecked::Checked(discover) => Pin::new(discover).poll_change(cx),
        }
    }
}

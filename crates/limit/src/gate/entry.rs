//! A call on its way in: it waits for room, then for the inner service.

use super::{Full, Gate, GaveUp, Line, Place, Wait};
use std::{
    ops::Deref,
    task::{Context, Poll, ready},
};
use tokio::time::Instant;
use tower_service::Service;

/// Holds a request until there is room for it, and then a clone of the inner service until that is ready.
pub(crate) struct Entry<S, Request, P: Deref<Target: AsRef<Gate>>> {
    inner: S,
    request: Request,
    wait: Wait<P>,
    has_room: bool,
}

/// Why a call does not come in.
pub(crate) enum Left<E> {
    GaveUp(GaveUp),
    /// The inner service failed.
    Inner(E),
}

impl<S, Request, P> Entry<S, Request, P>
where
    P: Deref<Target: AsRef<Gate>>,
{
    /// # Errors
    /// If as many wait as may. The request is lost: nothing more is done with it.
    pub(crate) fn join(
        inner: S,
        request: Request,
        owner: P,
        rank: u8,
        line: Line,
        now: Instant,
        until: Instant,
    ) -> Result<Box<Self>, Full> {
        let wait = Wait::join(owner, rank, line, now, until)?;
        Ok(Box::new(Entry { inner, request, wait, has_room: false }))
    }

    /// Ready when there is room and the inner service is ready, or when neither will be.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Left<S::Error>>>
    where
        S: Service<Request>,
    {
        if !self.has_room {
            if let Err(gave_up) = ready!(self.wait.poll(cx)) {
                return Poll::Ready(Err(Left::GaveUp(gave_up)));
            }
            self.has_room = true;
        }
        self.inner.poll_ready(cx).map_err(Left::Inner)
    }

    pub(crate) fn owner(&self) -> &P {
        self.wait.owner()
    }

    /// Since when it waits.
    pub(crate) fn since(&self) -> Instant {
        self.wait.since()
    }

    /// The readied inner service, the request, and the room.
    pub(crate) fn into_parts(self) -> (S, Request, Place<P>) {
        (self.inner, self.request, self.wait.into_place())
    }
}

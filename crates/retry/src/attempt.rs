//! One further attempt: a fresh clone of the inner service is readied, then called.

use crate::hooks::Fit;
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Instant;
use tower_service::Service;
use towpath_core::{EndpointId, context::Listen};

/// What is known of an attempt while it is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    /// From 0.
    pub(crate) number: u16,
    pub(crate) hedge: bool,
    pub(crate) start: Instant,
    /// When it is given up.
    pub(crate) limit: Option<Instant>,
    pub(crate) endpoint: Option<EndpointId>,
}

/// How an attempt ended.
pub(crate) enum Outcome<Res, Err> {
    Ok(Res),
    Err(Err),
    /// It was given up; `called`: the inner service had been called, and may have acted.
    TimedOut {
        called: bool,
        after: Duration,
    },
}

pin_project! {
    pub(crate) struct Further<S, Req>
    where
        S: Service<Req>,
    {
        pub(crate) meta: Meta,
        #[pin]
        stage: Stage<S, Req, S::Future>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<S, Req, F> {
        // A clone of the inner service is being readied.
        Readying { service: S, request: Option<Req>, waited: bool },
        // That clone was called, and dropped.
        Called { #[pin] future: F },
    }
}

impl<S: Service<Req>, Req> Further<S, Req> {
    pub(crate) fn new(meta: Meta, service: S, request: Req) -> Self {
        Further { meta, stage: Stage::Readying { service, request: Some(request), waited: false } }
    }

    pub(crate) fn is_called(&self) -> bool {
        matches!(self.stage, Stage::Called { .. })
    }

    /// Readying → Called, when the clone is ready.
    pub(crate) fn poll<H>(
        self: Pin<&mut Self>,
        hooks: &H,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome<S::Response, S::Error>>
    where
        H: Fit<Req, S::Response, S::Error>,
    {
        let mut this = self.project();
        let listen = Listen::new();
        let polled = loop {
            match this.stage.as_mut().project() {
                StageProj::Readying { service, request, waited } => {
                    match service.poll_ready(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                        Poll::Pending => {
                            *waited = true;
                            break Poll::Pending;
                        }
                    }
                    let Some(mut request) = request.take() else { break Poll::Pending };
                    if *waited && let Some(context) = hooks.context_mut(&mut request) {
                        // The reading that was left there is old by now.
                        context.set_stamp(None);
                    }
                    let future = service.call(request);
                    this.stage.set(Stage::Called { future });
                }
                StageProj::Called { future } => break future.poll(cx),
            }
        };
        if let Some(endpoint) = listen.heard() {
            this.meta.endpoint = Some(endpoint);
        }
        drop(listen);
        Poll::Ready(match ready!(polled) {
            Ok(response) => Outcome::Ok(response),
            Err(error) => Outcome::Err(error),
        })
    }
}

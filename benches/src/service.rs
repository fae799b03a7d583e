//! The service that all programs call.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};
use tower_service::Service;
use towpath_core::{Error, Request, Response};

/// The method that is called.
pub const METHOD: &str = "Echo.Echo";

/// Answers with what it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Echo;

impl Service<Request> for Echo {
    type Response = Response;
    type Error = Error;
    type Future = Ready<Result<Response, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let codec = request.codec();
        let mut response = Response::new(request.into_body());
        response.set_codec(codec);
        ready(Ok(response))
    }
}

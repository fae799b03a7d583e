//! Answers of `http`.

use crate::{Degradable, Degraded, Keepable, mark::KEY};
use http::{HeaderValue, Response, StatusCode};
use std::{error::Error as StdError, fmt};
use towpath_core::BoxError;

/// The header `degraded` says what the metadata entry of that name says over MCP (and no `x-degraded`, as RFC 6648
/// has it; `warning` is gone with RFC 9111).
impl<B> Degradable for Response<B> {
    fn degrade(&mut self, degraded: Degraded) {
        if let Ok(text) = HeaderValue::from_str(&degraded.to_string()) {
            self.headers_mut().insert(KEY, text);
        }
        self.extensions_mut().insert(degraded);
    }

    fn is_degraded(&self) -> bool {
        self.headers().contains_key(KEY)
    }

    fn failure(&self) -> Option<BoxError> {
        Some(Answered(self.status()).into())
    }
}

/// For bodies that are there whole: `Bytes` or `Vec<u8>`. (axum's own body is a stream: collect it below.)
impl<B: Clone + AsRef<[u8]> + From<Vec<u8>>> Keepable for Response<B> {
    fn detached(&self) -> Self {
        let mut response = Response::new(B::from(self.body().as_ref().to_vec()));
        *response.status_mut() = self.status();
        *response.version_mut() = self.version();
        *response.headers_mut() = self.headers().clone();
        response
    }

    fn size(&self) -> usize {
        let headers = self.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 64);
        self.body().as_ref().len() + headers.sum::<usize>()
    }
}

/// An answer that counts as a failure.
#[derive(Debug)]
struct Answered(StatusCode);

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer was {}", self.0)
    }
}

impl StdError for Answered {}

//! The border between an application's faults, which are answers, and the stack's own, which are errors.

use crate::compression::unpack_response;
use std::sync::Arc;
use towpath_core::{Error, ErrorKind, Fault, Processed, Response};

/// What every code of the stack's own begins with.
const DOMAIN: &[u8] = b"MCP-";

/// An answer as callers see it: a fault of the domain `MCP` is an error like a local one; any other fault
/// stays an answer, its body not decoded.
#[inline]
pub(crate) fn sort(outcome: Result<Response, Error>, peer: &Arc<str>) -> Result<Response, Error> {
    // Looked at first: to move an answer through a match costs more than to look. Off the wire, an answer
    // has an extension only if it is compressed.
    if matches!(&outcome, Ok(response) if response.is_fault() || !response.extensions().is_empty()) {
        return stack_error(outcome, peer);
    }
    outcome
}

/// The same for what is pushed: after the acceptance, a drain that ends the call says nothing about
/// whether it was processed.
pub(crate) fn sort_pushed(outcome: Result<Response, Error>, peer: &Arc<str>) -> Result<Response, Error> {
    sort(outcome, peer).map_err(|error| match error.kind() {
        ErrorKind::Draining => error.with_processed(Processed::Unknown),
        _ => error,
    })
}

#[cold]
fn stack_error(outcome: Result<Response, Error>, peer: &Arc<str>) -> Result<Response, Error> {
    let response = unpack_response(outcome?).map_err(|error| error.at(peer.clone()))?;
    // Most faults are the application's: a look at the bytes spares the decoding.
    if !response.is_fault() || !response.body().windows(DOMAIN.len()).any(|bytes| bytes == DOMAIN) {
        return Ok(response);
    }
    match Fault::from_response(&response).map(Fault::into_error) {
        Ok(Ok(error)) => Err(error.at(peer.clone())),
        Ok(Err(_)) | Err(_) => Ok(response),
    }
}

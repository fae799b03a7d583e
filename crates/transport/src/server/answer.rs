//! From what a service says to a frame.

use super::call::panicked;
use crate::out::OutQueue;
use std::panic::{AssertUnwindSafe, catch_unwind};
use towpath_codec::EncodeError;
use towpath_core::{BoxError, CodecId, Context, Error, ErrorKind, Fault, LoadReport, Processed, Response};

/// A failure of the stack as a response: the fault carries the call's trace id.
#[cold]
pub(crate) fn refusal(error: &Error, codec: CodecId, context: Option<&Context>) -> Response {
    in_trace(Fault::from_error(error), context).into_response(codec)
}

/// As [`failure`], for an error that is a user's type: what it does when it is shown is a user's code.
#[cold]
pub(crate) fn guarded(error: BoxError, codec: CodecId, context: Option<&Context>) -> Response {
    catch_unwind(AssertUnwindSafe(|| failure(error, codec, context)))
        .unwrap_or_else(|panic| failure(panicked(&*panic), codec, context))
}

/// What a service failed with as a response: a fault in the chain speaks for itself, then an error of the
/// stack; anything else is a handler that failed.
#[cold]
fn failure(error: BoxError, codec: CodecId, context: Option<&Context>) -> Response {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&*error);
    while let Some(next) = source {
        if let Some(fault) = next.downcast_ref::<Fault>() {
            return in_trace(fault.clone(), context).into_response(codec);
        }
        // The outermost speaks: behind an error of the stack, a fault is how it came to that.
        if next.is::<Error>() {
            break;
        }
        source = next.source();
    }
    let error = Error::from_boxed(error, ErrorKind::HandlerFailed);
    if error.is_remote() || error.endpoint().is_some() {
        // It tells of a call that the handler made. That this one was not processed, say, does not mean
        // that the handler's own was not.
        let failed = Fault::new(ErrorKind::HandlerFailed, "the handler failed because a call of its own did");
        return in_trace(failed.wrap_error(&error), context).into_response(codec);
    }
    refusal(&error, codec, context)
}

fn in_trace(fault: Fault, context: Option<&Context>) -> Fault {
    match context.and_then(Context::trace_id_text) {
        Some(trace_id) if fault.trace_id().is_none() => fault.with_trace_id(trace_id),
        _ => fault,
    }
}

/// Appends a RESPONSE or PUSH. An answer that the peer would not take is replaced by MCP-E-003.
#[inline]
pub(crate) fn put(
    out: &mut OutQueue,
    kind: u8,
    id: u64,
    response: &Response,
    codec: CodecId,
    max_payload: u32,
) {
    let before = out.buf.len();
    let encoded = towpath_codec::put_response_head(&mut out.buf, kind, id, response).and_then(|()| {
        let len = out.buf.len() - before - towpath_codec::HEADER_LEN + response.body().len();
        match u32::try_from(len) {
            Ok(len) if len <= max_payload => Ok(()),
            _ => Err(EncodeError::TooLarge { len: len as u64, max: max_payload.into() }),
        }
    });
    match encoded {
        Ok(()) => out.body(response.body()),
        Err(error) => {
            out.buf.truncate(before);
            match without_report(response) {
                Some(response) => put(out, kind, id, &response, codec, max_payload),
                None => too_large(out, kind, id, codec, &error),
            }
        }
    }
}

/// The answer without the report of a load, if it has one: that is a hint, and no answer is to fail for it.
#[cold]
fn without_report(response: &Response) -> Option<Response> {
    let mut bare = response.clone();
    bare.metadata_mut().remove(LoadReport::KEY).then_some(bare)
}

#[cold]
fn too_large(out: &mut OutQueue, kind: u8, id: u64, codec: CodecId, error: &EncodeError) {
    let error = Error::new(ErrorKind::TooLarge)
        .with_processed(Processed::Yes)
        .because(format!("the answer cannot be sent: {error}"));
    let response = refusal(&error, codec, None);
    if towpath_codec::put_response_head(&mut out.buf, kind, id, &response).is_ok() {
        out.body(response.body());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use towpath_codec::{HEADER_LEN, kind};

    #[test]
    fn no_answer_fails_for_the_report_of_a_load() {
        let put = |response: &Response, max| {
            let mut out = OutQueue::default();
            put(&mut out, kind::RESPONSE, 7, response, CodecId::RAW, max);
            out.buf
        };
        let mut response = Response::new(Bytes::from(vec![b'x'; 1000]));
        let plain = put(&response, u32::MAX);
        let most = (plain.len() - HEADER_LEN) as u32;
        response.metadata_mut().insert(LoadReport::KEY, "q=1,n=2").unwrap();
        assert_eq!(put(&response, most), plain);
        assert!(put(&response, most + 100).len() > plain.len());
        let fault = put(&response, most - 1);
        assert!(String::from_utf8_lossy(&fault).contains("MCP-E-003"));
        response.metadata_mut().insert("tenant", "acme").unwrap();
        assert!(String::from_utf8_lossy(&put(&response, most)).contains("MCP-E-003"));
    }
}

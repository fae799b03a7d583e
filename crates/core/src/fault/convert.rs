//! Faults, answers and errors of the stack: which becomes which.

use super::{
    code::ErrorCode,
    value::Fault,
    wire::{Brief, InvalidFault},
};
use crate::{
    CodecId, Context, Error, ErrorKind, Processed, Response, Status,
    context::{self, TraceId},
};
use bytes::Bytes;
use std::borrow::Cow;

impl From<ErrorKind> for ErrorCode {
    fn from(kind: ErrorKind) -> Self {
        kind.error_code()
    }
}

impl Fault {
    /// The answer to a call whose body was in `request_codec`: Protobuf for Protobuf, JSON for all others.
    ///
    /// An answer always has a trace id: the fault's own, or that of the call which this task handles, or
    /// a random one.
    pub fn into_response(self, request_codec: CodecId) -> Response {
        let fault = match self.trace_id() {
            Some(_) => self,
            None => {
                let call = context::with_current(Context::trace_id_text).flatten();
                self.with_trace_id(call.unwrap_or_else(|| TraceId::random().to_string()))
            }
        };
        let (codec, body) = match request_codec {
            CodecId::PROTOBUF => (CodecId::PROTOBUF, fault.to_protobuf()),
            _ => (CodecId::JSON, fault.to_json()),
        };
        let mut response = Response::new(body);
        response.set_status(Status::Fault);
        response.set_codec(codec);
        if fault.is_retry_stop() {
            response.set_retry_stop();
        }
        response
    }

    /// Reads the fault that an answer is.
    ///
    /// # Errors
    /// If the answer's status is ok, its codec is neither JSON nor Protobuf, or its body cannot be read.
    pub fn from_response<B: AsRef<[u8]>>(response: &Response<B>) -> Result<Fault, InvalidFault> {
        match response.status() {
            Status::Fault => Ok(Fault::from_body(response.codec(), response.body().as_ref())?
                .with_retry_stop(response.is_retry_stop())),
            Status::Ok => Err(InvalidFault::NotAFault),
        }
    }

    /// The form in which an error of the stack goes on the wire. Its endpoint and its source stay here:
    /// they are nothing for the caller.
    pub fn from_error(error: &Error) -> Fault {
        let message = match error.detail() {
            "" => error.kind().says().into(),
            detail => Cow::from(detail.to_owned()),
        };
        let fault = Fault::new(error.kind(), message)
            .with_not_processed(error.processed() == Processed::No)
            .with_retry_after(error.retry_after())
            .with_retry_stop(error.is_retry_stop());
        let fault = match error.trace_id() {
            Some(trace_id) => fault.with_trace_id(trace_id),
            None => fault,
        };
        // It came off the wire and goes on: what it came from goes with it.
        match error.remote_fault() {
            Some(came) => fault.with_origin_of(came),
            None => fault,
        }
    }

    /// The error of the stack that an `MCP-*` fault off the wire stands for; an application's fault comes
    /// back as it is.
    ///
    /// Whether the callee has acted is the kind's own word, or "no" where the fault says so. An answer that
    /// is too large for the caller (MCP-E-003) was processed. A code that this version does not know is a
    /// failed handler, with the code in the detail. The fault itself stays in the error
    /// ([`Error::remote_fault`]).
    ///
    /// # Errors
    /// The fault itself, if it is not of the domain `MCP`.
    pub fn into_error(self) -> Result<Error, Fault> {
        if !self.code().is_mcp() {
            return Err(self);
        }
        let error = match ErrorKind::from_code(self.code().as_str()) {
            Some(kind) => Error::new(kind),
            None => {
                Error::new(ErrorKind::HandlerFailed).because(format!("{} {}", self.code(), self.message()))
            }
        };
        let processed = match error.kind() {
            _ if self.not_processed() => Processed::No,
            ErrorKind::TooLarge => Processed::Yes,
            _ => error.processed(),
        };
        let error = error.with_retry_stop(self.is_retry_stop()).with_retry_after(self.retry_after());
        Ok(error.with_processed(processed).with_fault(self))
    }
}

impl Brief {
    /// Reads what decides from the fault that an answer is.
    ///
    /// # Errors
    /// As [`Fault::from_response`].
    pub fn from_response<B: AsRef<[u8]>>(response: &Response<B>) -> Result<Brief, InvalidFault> {
        match response.status() {
            Status::Fault => Brief::from_body(response.codec(), response.body().as_ref()),
            Status::Ok => Err(InvalidFault::NotAFault),
        }
    }
}

impl From<Fault> for Response<Bytes> {
    /// The answer in JSON: see [`Fault::into_response`].
    fn from(fault: Fault) -> Self {
        fault.into_response(CodecId::JSON)
    }
}

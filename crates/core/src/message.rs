//! Requests and responses.

use crate::{Context, Extensions, Metadata, Method};
use bytes::Bytes;
use std::{fmt, sync::Arc};
use tokio::time::Instant;

/// The metadata key of an answer after which nobody retries.
const RETRY_STOP: &str = "retry-stop";

/// How a body is encoded: one byte on the wire. 16 and above are the application's own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CodecId(pub u8);

impl CodecId {
    /// Bytes as they are.
    pub const RAW: CodecId = CodecId(0);
    /// JSON, UTF-8.
    pub const JSON: CodecId = CodecId(1);
    /// Protocol Buffers.
    pub const PROTOBUF: CodecId = CodecId(2);
}

/// What the caller wants to hear, and when.
// A whole word, so that `Option<Request>` and its like tell themselves apart by it: they take the field with
// the most values to spare, and one in the middle of a word makes a copy of the rest slow (it is then read
// in other pieces than it was written in, and the processor has to wait for its own stores).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
#[repr(u64)]
pub enum Mode {
    /// One answer, waited for.
    #[default]
    Unary,
    /// Accepted first, answered later: the call resolves when the callee has accepted it, and the
    /// outcome is a future of its own.
    Async,
    /// No answer at all: the call resolves when it is written to the socket.
    OneWay,
}

/// Tells an asynchronous caller that its call was accepted; a server puts it into the request's extensions.
///
/// A router calls [`Request::accept`] when the method is known and the body is decoded; a service without
/// a router may call it itself. What is answered without it is accepted by its (successful) answer.
#[derive(Clone)]
pub struct Acceptance(Arc<dyn Fn() + Send + Sync>);

impl Acceptance {
    /// `accept` is called once or more often, from any thread; it does not block.
    pub fn new(accept: impl Fn() + Send + Sync + 'static) -> Self {
        Acceptance(Arc::new(accept))
    }

    /// Says that the call is accepted. More than once is as good as once.
    pub fn accept(&self) {
        (self.0)();
    }
}

/// A call on its way: method, context, metadata, body.
///
/// Cloning one is a few reference counts and no allocation (but for the first clone of a `Bytes` that was
/// made from a `Vec`, which allocates its count).
///
/// [`Request::new`] inherits the deadline, the trace and the priority of the call that is being handled
/// in this task, if there is one: see [`Context::inherit`].
#[derive(Clone, Default)]
pub struct Request<B = Bytes> {
    method: Method,
    context: Context,
    metadata: Metadata,
    codec: CodecId,
    mode: Mode,
    extensions: Extensions,
    body: B,
}

impl<B> Request<B> {
    /// A request in the context of the call that this task handles (or of none).
    #[inline]
    pub fn new(method: impl Into<Method>, body: B) -> Self {
        let mut request = Request::with_context(method, Context::new(), body);
        request.context.inherit_here();
        request
    }

    /// A request in a context of the caller's choice.
    #[inline]
    pub fn with_context(method: impl Into<Method>, context: Context, body: B) -> Self {
        Request {
            method: method.into(),
            context,
            metadata: Metadata::new(),
            codec: CodecId::RAW,
            mode: Mode::Unary,
            extensions: Extensions::new(),
            body,
        }
    }

    /// What is called.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Sets what is called.
    pub fn set_method(&mut self, method: impl Into<Method>) {
        self.method = method.into();
    }

    /// Deadline, trace, attempt and the rest.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Deadline, trace, attempt and the rest, to change.
    pub fn context_mut(&mut self) -> &mut Context {
        &mut self.context
    }

    /// The entries beside the body. What the context holds is not among them until it is on the wire.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The entries beside the body, to change.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// How the body is encoded.
    pub fn codec(&self) -> CodecId {
        self.codec
    }

    /// Says how the body is encoded.
    pub fn set_codec(&mut self, codec: CodecId) {
        self.codec = codec;
    }

    /// Whether, and when, an answer is wanted.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Says whether, and when, an answer is wanted.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Values that ride along in this process.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Values that ride along in this process, to change.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// Accepts an asynchronous call: from here on the outcome is pushed. Does nothing for other calls.
    pub fn accept(&self) {
        if let Some(acceptance) = self.extensions.get::<Acceptance>() {
            acceptance.accept();
        }
    }

    /// The body.
    pub fn body(&self) -> &B {
        &self.body
    }

    /// The body, to change.
    pub fn body_mut(&mut self) -> &mut B {
        &mut self.body
    }

    /// The body alone.
    pub fn into_body(self) -> B {
        self.body
    }

    /// The same call with another body.
    pub fn map<C>(self, f: impl FnOnce(B) -> C) -> Request<C> {
        Request {
            method: self.method,
            context: self.context,
            metadata: self.metadata,
            codec: self.codec,
            mode: self.mode,
            extensions: self.extensions,
            body: f(self.body),
        }
    }
}

impl Default for Method {
    fn default() -> Self {
        Method::from_static("")
    }
}

/// Whether an answer is a result or a fault.
// A whole word: see `Mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u64)]
pub enum Status {
    /// The body is the result.
    #[default]
    Ok,
    /// The body is a [`Fault`](crate::Fault), undecoded.
    Fault,
}

/// An answer: status, metadata, body. An application's fault is an answer too.
#[derive(Clone, Default)]
pub struct Response<B = Bytes> {
    status: Status,
    codec: CodecId,
    metadata: Metadata,
    extensions: Extensions,
    completed: Option<Instant>,
    body: B,
}

impl<B> Response<B> {
    /// A result, raw bytes unless [`set_codec`](Self::set_codec) says otherwise.
    pub fn new(body: B) -> Self {
        Response {
            status: Status::Ok,
            codec: CodecId::RAW,
            metadata: Metadata::new(),
            extensions: Extensions::new(),
            completed: None,
            body,
        }
    }

    /// Result or fault.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Says whether the body is the result or a fault.
    pub fn set_status(&mut self, status: Status) {
        self.status = status;
    }

    /// Whether the body is a fault.
    pub fn is_fault(&self) -> bool {
        self.status == Status::Fault
    }

    /// How the body is encoded.
    pub fn codec(&self) -> CodecId {
        self.codec
    }

    /// Says how the body is encoded.
    pub fn set_codec(&mut self, codec: CodecId) {
        self.codec = codec;
    }

    /// The entries beside the body.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The entries beside the body, to change.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// Whether the answer says that attempts are spent below (`retry-stop: 1`), so that another one from here is
    /// of no use.
    pub fn is_retry_stop(&self) -> bool {
        self.metadata.get(RETRY_STOP) == Some(b"1")
    }

    /// Says that attempts are spent here: who called need not make more of them.
    pub fn set_retry_stop(&mut self) {
        // Fails only for a key that is none.
        let _ = self.metadata.insert(RETRY_STOP, "1");
    }

    /// What layers and the connection tell the caller beside the answer.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// What layers and the connection tell the caller beside the answer, to change.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// When the answer arrived, if somebody read the clock then (see [`Clock`](crate::Clock)).
    pub fn completed(&self) -> Option<Instant> {
        self.completed
    }

    /// Leaves the reading that was taken when the answer arrived.
    pub fn set_completed(&mut self, at: Instant) {
        self.completed = Some(at);
    }

    /// The body.
    pub fn body(&self) -> &B {
        &self.body
    }

    /// The body, to change.
    pub fn body_mut(&mut self) -> &mut B {
        &mut self.body
    }

    /// The body alone.
    pub fn into_body(self) -> B {
        self.body
    }

    /// The same answer with another body.
    pub fn map<C>(self, f: impl FnOnce(B) -> C) -> Response<C> {
        Response {
            status: self.status,
            codec: self.codec,
            metadata: self.metadata,
            extensions: self.extensions,
            completed: self.completed,
            body: f(self.body),
        }
    }
}

/// Bodies are not shown: they may be large, or secret.
impl<B> fmt::Debug for Request<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("context", &self.context)
            .field("metadata", &self.metadata)
            .field("codec", &self.codec)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for Response<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("codec", &self.codec)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CodecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            CodecId::RAW => f.write_str("raw"),
            CodecId::JSON => f.write_str("json"),
            CodecId::PROTOBUF => f.write_str("protobuf"),
            CodecId(id) => write!(f, "codec {id}"),
        }
    }
}

impl fmt::Display for CodecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

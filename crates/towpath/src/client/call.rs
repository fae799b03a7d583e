//! One call, with its options.

use super::{
    error::CallError,
    handle::{Client, Inner, Started, start},
    reply::{Accepted, Reply},
};
use bytes::Bytes;
use prost::Message;
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, time::Duration};
use towpath_codec::{BodyCodec, Decode, Encode, Json, Protobuf, Raw};
use towpath_core::{CodecId, Loan, Method, Mode, Priority, Request, Response, context::Field};

impl Client {
    /// Calls a method with a body in JSON, and reads its result from JSON. The client's deadline holds (10 s
    /// by default), or an earlier one that is inherited from the call which this task handles.
    ///
    /// # Errors
    /// [`CallError::Fault`] if the service says no, [`CallError::Failed`] if the stack does; see there.
    ///
    /// # Cancel safety
    /// Dropping the reply gives the call up; the callee is told.
    pub fn call<R: DeserializeOwned>(
        &self,
        method: impl Into<Method>,
        body: &(impl Serialize + ?Sized),
    ) -> Reply<R> {
        self.request(method).body(body).send()
    }

    /// A call with options. It inherits from the call that this task handles, see
    /// [`Context::inherit`](towpath_core::Context::inherit).
    ///
    /// ```no_run
    /// # async fn example(client: towpath::Client, order: String) -> Result<(), towpath::CallError> {
    /// use std::time::Duration;
    /// let id: u64 = client
    ///     .request("OrderService.Place")
    ///     .body(&order)
    ///     .timeout(Duration::from_secs(2))
    ///     .idempotency_key("order-1001")
    ///     .meta("tenant", "acme")
    ///     .send()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn request(&self, method: impl Into<Method>) -> CallRequest {
        let mut request = Request::new(method, Bytes::from_static(b"null"));
        request.set_codec(CodecId::JSON);
        CallRequest { client: self.inner.lend(), request, timeout: None, refused: None, codec: Json }
    }
}

/// A call that is put together: [`Client::request`] begins it, `send` or one of its kin ends it. Bodies go and
/// come in the codec `C`: JSON unless told otherwise.
#[must_use = "a call is not made unless it is sent"]
pub struct CallRequest<C = Json> {
    client: Loan<Inner>,
    request: Request,
    timeout: Option<Duration>,
    /// The first option that cannot be; told when it is sent.
    refused: Option<CallError>,
    codec: C,
}

impl<C: BodyCodec> CallRequest<C> {
    /// The body, in the codec of this call. Without one, JSON has `null` and others have nothing. What cannot
    /// be written is told when it is sent.
    pub fn body<T: ?Sized>(mut self, body: &T) -> Self
    where
        C: Encode<T>,
    {
        match self.codec.to_body(body) {
            Ok(body) => *self.request.body_mut() = body,
            Err(error) => self.refuse(CallError::Encode(error)),
        }
        self
    }

    /// Another codec, for the body and for the result; a body that was set is dropped.
    pub fn codec<D: BodyCodec>(self, codec: D) -> CallRequest<D> {
        self.with_body(codec, Bytes::new())
    }

    /// A body in Protocol Buffers (codec 2); so is the result.
    pub fn protobuf<T: Message>(self, body: &T) -> CallRequest<Protobuf> {
        self.codec(Protobuf).body(body)
    }

    /// A body of raw bytes (codec 0), shared and not copied; so is the result, whatever its codec.
    pub fn raw(self, body: impl Into<Bytes>) -> CallRequest<Raw> {
        self.with_body(Raw, body.into())
    }

    /// A body that is encoded already, with the id of its codec; the result comes as bytes.
    pub fn encoded(self, codec: CodecId, body: impl Into<Bytes>) -> CallRequest<Raw> {
        let mut call = self.with_body(Raw, body.into());
        call.request.set_codec(codec);
        call
    }

    fn with_body<D: BodyCodec>(self, codec: D, body: Bytes) -> CallRequest<D> {
        let CallRequest { client, mut request, timeout, refused, .. } = self;
        request.set_codec(D::ID);
        *request.body_mut() = body;
        CallRequest { client, request, timeout, refused, codec }
    }

    /// How long the call may take, instead of the client's default, counted from the sending. What is left
    /// of an inherited deadline holds if it is less.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// A metadata entry; the last one of a key counts. A key is lower-case ASCII; what is none is told when
    /// the call is sent.
    pub fn meta(mut self, key: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        let key = key.as_ref();
        if let Err(why) = self.request.metadata_mut().insert(key, value) {
            self.refuse(CallError::metadata(key, why));
        }
        self
    }

    /// The call may be made twice without harm: it may be retried where nobody knows what became of it.
    pub fn idempotent(mut self) -> Self {
        self.request.context_mut().set_idempotent(true);
        self
    }

    /// Calls with the same key are one call: the callee answers a repetition with its first answer. That
    /// makes the call [idempotent](Self::idempotent).
    pub fn idempotency_key(self, key: impl Into<Bytes>) -> Self {
        self.field(Field::IdempotencyKey, key.into()).idempotent()
    }

    /// Calls with the same key go to the same endpoint, where there are several.
    pub fn affinity(self, key: impl Into<Bytes>) -> Self {
        self.field(Field::AffinityKey, key.into())
    }

    /// The session that the call belongs to; calls below it inherit it.
    pub fn session(self, id: impl Into<Bytes>) -> Self {
        self.field(Field::SessionId, id.into())
    }

    /// A credential; it is neither shown nor inherited.
    pub fn authorization(self, credential: impl Into<Bytes>) -> Self {
        self.field(Field::Authorization, credential.into())
    }

    /// Which calls are shed first when there are too many.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.request.context_mut().set_priority(priority);
        self
    }

    /// Changes the request itself, for what has no option of its own.
    pub fn with(mut self, change: impl FnOnce(&mut Request)) -> Self {
        change(&mut self.request);
        self
    }

    fn field(mut self, field: Field, value: Bytes) -> Self {
        self.request.context_mut().set_field(field, Some(value));
        self
    }

    fn refuse(&mut self, error: CallError) {
        self.refused.get_or_insert(error);
    }

    /// Makes the call, and reads the result with this call's codec.
    ///
    /// # Errors
    /// See [`CallError`]. A result in another codec is [`CallError::Decode`].
    ///
    /// # Cancel safety
    /// Dropping the reply gives the call up; the callee is told.
    pub fn send<R>(self) -> Reply<R, C>
    where
        C: Decode<R>,
    {
        let (started, codec) = self.start(Mode::Unary);
        Reply::new(started, codec)
    }

    /// Makes the call, and gives the answer as it came: codec, metadata, body. A fault of the service is an
    /// answer.
    ///
    /// # Errors
    /// As [`send`](Self::send), but never [`CallError::Fault`].
    pub async fn send_raw(self) -> Result<Response, CallError> {
        self.start(Mode::Unary).0?.await.map_err(CallError::from_stack)
    }

    /// Makes the call asynchronously: resolves when the callee has accepted it, to a future of the result.
    /// The call's deadline is for both.
    ///
    /// # Errors
    /// As [`send`](Self::send), if it was not accepted. What happens after is the inner future's.
    ///
    /// # Cancel safety
    /// Dropping either future gives the call up; the callee is told.
    pub async fn send_async<R>(self) -> Result<Accepted<R, C>, CallError>
    where
        C: Decode<R>,
    {
        let (started, codec) = self.start(Mode::Async);
        let response = started?.await.map_err(CallError::from_stack)?;
        Accepted::new(response, codec)
    }

    /// Makes the call without wanting an answer: resolves when it is written to the socket. Nothing is
    /// promised after that, and nobody tells what became of it.
    ///
    /// # Errors
    /// If it was not written.
    pub async fn send_one_way(self) -> Result<(), CallError> {
        let response = self.start(Mode::OneWay).0?.await.map_err(CallError::from_stack)?;
        CallError::from_answer(&response).map_or(Ok(()), Err)
    }

    fn start(self, mode: Mode) -> (Started, C) {
        let CallRequest { client, mut request, timeout, refused, codec } = self;
        request.set_mode(mode);
        let started = match refused {
            Some(error) => Err(error),
            None => Ok(start(client, request, timeout)),
        };
        (started, codec)
    }
}

impl<C: BodyCodec> fmt::Debug for CallRequest<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallRequest")
            .field("request", &self.request)
            .field("timeout", &self.timeout)
            .field("codec", &C::NAME)
            .finish_non_exhaustive()
    }
}

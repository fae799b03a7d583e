//! The asking side.

use crate::{
    RegistryFault, ServiceSummary,
    wire::{self, Answer, Deregistered, Described, Leased, OfLease, Services},
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, future::poll_fn, sync::Arc, time::Duration};
use tokio::time::timeout_at;
use tower_service::Service;
use towpath_core::{
    BoxError, Clock, CodecId, Context, Error, ErrorKind, Fault, Processed, Request, Response, Status, context,
};
use towpath_discover::Instance;

/// Asks a registry, over any `Service<Request>`: a facade's `Client`, a connection, the
/// [router](crate::Registry::router) itself.
///
/// Calls have the deadlines that are said here and no others: they inherit none.
#[derive(Clone, Copy, Debug)]
pub struct RegistryClient<S> {
    service: S,
}

/// Why a registry did not do what it was asked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RegistryError {
    /// It was not reached, or the stack refused.
    Call(Error),
    /// It refused: see [`RegistryFault`].
    Refused(Fault),
    /// What it answered makes no sense.
    Answer(String),
}

impl<S> RegistryClient<S>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>> + Clone,
{
    /// Asks the registry that this service leads to.
    pub fn new(service: S) -> Self {
        RegistryClient { service }
    }

    /// The services of which something is registered.
    ///
    /// # Errors
    /// If the registry is not reached within `timeout`, or refuses.
    pub async fn services(&self, timeout: Duration) -> Result<Vec<ServiceSummary>, RegistryError> {
        let answer: Services = self.call(wire::SERVICES, &(), timeout).await?;
        Ok(answer.services)
    }

    /// The instances of a service.
    ///
    /// # Errors
    /// If the registry is not reached within `timeout`, or refuses.
    pub async fn list(
        &self,
        service: impl Into<Arc<str>>,
        timeout: Duration,
    ) -> Result<Vec<Instance>, RegistryError> {
        let ask = wire::List { service: service.into() };
        let answer: Answer = self.call(wire::LIST, &ask, timeout).await?;
        Ok(answer.instances.into_iter().map(Instance::from).collect())
    }

    // What follows takes the client by value: a future that borrows it could not be sent unless `S` were `Sync`.

    pub(crate) async fn watch(self, ask: wire::Watch, timeout: Duration) -> Result<Answer, RegistryError> {
        self.call(wire::WATCH, &ask, timeout).await
    }

    pub(crate) async fn register(
        self,
        service: Arc<str>,
        instance: Instance,
        lease: Option<String>,
        timeout: Duration,
    ) -> Result<Leased, RegistryError> {
        let ask = wire::Register { service, instance: Described::from(&instance), lease };
        self.call(wire::REGISTER, &ask, timeout).await
    }

    pub(crate) async fn heartbeat(self, lease: String, timeout: Duration) -> Result<Leased, RegistryError> {
        self.call(wire::HEARTBEAT, &OfLease { lease }, timeout).await
    }

    pub(crate) async fn deregister(self, lease: String, timeout: Duration) -> Result<bool, RegistryError> {
        let answer: Deregistered = self.call(wire::DEREGISTER, &OfLease { lease }, timeout).await?;
        Ok(answer.found)
    }

    fn call<A: Serialize, T: DeserializeOwned>(
        &self,
        method: &'static str,
        ask: &A,
        timeout: Duration,
    ) -> impl Future<Output = Result<T, RegistryError>> + use<S, A, T> {
        let body = serde_json::to_vec(ask);
        let mut service = self.service.clone();
        // It belongs to no call, even where the process that registers serves.
        context::background(async move {
            let body = body.map_err(|error| RegistryError::Answer(error.to_string()))?;
            let deadline = Clock::now() + timeout;
            // Not of the call that this task may be handling.
            let mut context = Context::new();
            context.set_deadline(Some(deadline));
            context.set_idempotent(true);
            let mut request = Request::with_context(method, context, Bytes::from(body));
            request.set_codec(CodecId::JSON);
            let called = async {
                poll_fn(|cx| service.poll_ready(cx)).await?;
                service.call(request).await
            };
            let response = match timeout_at(deadline, called).await {
                Ok(answered) => answered.map_err(|error| refused(method, error.into()))?,
                Err(_) => {
                    let late = Error::new(ErrorKind::DeadlineExceeded).with_processed(Processed::Unknown);
                    return Err(RegistryError::Call(
                        late.because(format!("{method}: no answer within {timeout:?}")),
                    ));
                }
            };
            read(method, &response)
        })
    }
}

/// Who answers, and does not know the method, is no registry.
fn refused(method: &str, error: BoxError) -> RegistryError {
    let error = Error::from_boxed(error, ErrorKind::ConnectionLost);
    RegistryError::Call(match error.kind() {
        ErrorKind::UnknownMethod => {
            error.because(format!("{method} is not answered there: check that it is a registry"))
        }
        _ => error,
    })
}

fn read<T: DeserializeOwned>(method: &str, response: &Response) -> Result<T, RegistryError> {
    if response.status() == Status::Fault {
        let fault = Fault::from_response(response)
            .map_err(|error| RegistryError::Answer(format!("{method} was answered by a fault: {error}")))?;
        return Err(match fault.into_error() {
            Ok(error) => refused(method, error.into()),
            Err(fault) => RegistryError::Refused(fault),
        });
    }
    if response.codec() != CodecId::JSON {
        return Err(RegistryError::Answer(format!("{method} was answered in codec {}", response.codec().0)));
    }
    serde_json::from_slice(response.body()).map_err(|error| {
        RegistryError::Answer(format!("{method} was answered by what makes no sense: {error}"))
    })
}

impl RegistryError {
    /// Whether the registry does not know the lease.
    pub fn is_unknown_lease(&self) -> bool {
        matches!(self, RegistryError::Refused(fault) if fault.code() == RegistryFault::UnknownLease.code())
    }
}

/// For who speaks of errors of the stack only.
impl From<RegistryError> for Error {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Call(error) => error,
            RegistryError::Refused(fault) => Error::new(ErrorKind::HandlerFailed)
                .with_processed(Processed::No)
                .with_remote(true)
                .because(format!("the registry refused: {fault}")),
            RegistryError::Answer(why) => Error::new(ErrorKind::Undecodable).because(why),
        }
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegistryError::Call(error) => write!(f, "the registry was not asked: {error}"),
            RegistryError::Refused(fault) => write!(f, "the registry refused: {fault}"),
            RegistryError::Answer(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for RegistryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RegistryError::Call(error) => Some(error),
            RegistryError::Refused(_) | RegistryError::Answer(_) => None,
        }
    }
}

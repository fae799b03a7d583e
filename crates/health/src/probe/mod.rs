//! What is asked of an endpoint: the trait, and the usual questions.

#[cfg(feature = "http")]
mod http;
mod ping;
mod place;
mod tcp;

#[cfg(feature = "http")]
pub use http::{HttpProbe, InvalidHttpProbe};
pub use ping::PingProbe;
pub use tcp::TcpProbe;

use std::{future::Future, pin::Pin};
use towpath_core::{BoxError, Endpoint};

/// A question to an endpoint that tells whether it is healthy.
///
/// Each endpoint is asked by a clone of its own, which may keep a connection from one time to the next; after a failure it
/// is replaced by a fresh clone of the first one, which is never asked itself. The probe does not have to
/// look at the time: whoever asks drops the future when it is up, and takes that for a failure. So it does with a panic.
///
/// Closures `FnMut(Endpoint) -> impl Future<Output = Result<(), E>>` are probes:
///
/// ```
/// use towpath_core::Endpoint;
/// use towpath_health::{HealthChecker, Probe};
///
/// let by_label = |endpoint: Endpoint| async move {
///     match endpoint.label("state") {
///         Some("broken") => Err("its label says that it is broken"),
///         _ => Ok(()),
///     }
/// };
/// let checker = HealthChecker::new(by_label);
/// assert_eq!(checker.counts().endpoints, 0);
/// ```
pub trait Probe: Clone + Send + Sync + 'static {
    /// Asks; anything but a failure is a success.
    ///
    /// Cancel safety: the future is dropped when it takes too long, or when nobody wants to know any more.
    fn probe(&mut self, endpoint: &Endpoint) -> impl Future<Output = Result<(), BoxError>> + Send;
}

impl<F, Fut, E> Probe for F
where
    F: FnMut(Endpoint) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send,
    E: Into<BoxError>,
{
    async fn probe(&mut self, endpoint: &Endpoint) -> Result<(), BoxError> {
        self(endpoint.clone()).await.map_err(Into::into)
    }
}

/// The outcome of a probe whose type is not known any more.
pub(crate) type Asked<'a> = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>>;

/// A probe whose type is not known any more.
pub(crate) trait Prober: Send + Sync {
    fn fresh(&self) -> Box<dyn Prober>;
    fn ask<'a>(&'a mut self, endpoint: &'a Endpoint) -> Asked<'a>;
}

impl<P: Probe> Prober for P {
    fn fresh(&self) -> Box<dyn Prober> {
        Box::new(self.clone())
    }

    fn ask<'a>(&'a mut self, endpoint: &'a Endpoint) -> Asked<'a> {
        Box::pin(self.probe(endpoint))
    }
}

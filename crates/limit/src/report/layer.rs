//! What is put into a stack.

use super::ReportLoad;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};
use tower_layer::Layer;

/// Has each answer of a server say how much it has in work: a [`LoadReport`](towpath_core::LoadReport) in its metadata, which
/// balancers of callers heed (they see what other callers send there, too). Around the handlers, inside of all that waits:
/// what a call has waited until it comes here, from when it arrived, is the queue's delay that is reported.
///
/// A report costs an answer about 20 bytes on the wire, their allocation and a reading of the clock. An answer that has a
/// report already, of a service further down, keeps that. What is counted is one for all services that this layer and
/// its clones make.
///
/// ```
/// use tower::{Layer, ServiceExt, service_fn};
/// use towpath_core::{LoadReport, Request, Response};
/// use towpath_limit::ReportLoadLayer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let handler = service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(())));
/// let answer = ReportLoadLayer::new().layer(handler).oneshot(Request::new("A.B", ())).await.unwrap();
/// let report: LoadReport = answer.metadata().get_str(LoadReport::KEY).unwrap().parse().unwrap();
/// assert_eq!(report.in_flight, 1, "itself");
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ReportLoadLayer {
    in_work: Arc<AtomicU32>,
}

impl ReportLoadLayer {
    /// One.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many calls are in work.
    pub fn in_flight(&self) -> u32 {
        self.in_work.load(Relaxed)
    }
}

impl<S> Layer<S> for ReportLoadLayer {
    type Service = ReportLoad<S>;

    fn layer(&self, inner: S) -> ReportLoad<S> {
        ReportLoad { inner, in_work: self.in_work.clone() }
    }
}

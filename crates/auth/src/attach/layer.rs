//! What is put into a client's stack.

use super::Attach;
use tower_layer::Layer;

/// Gives each call a credential, unless it has one of its own.
///
/// It stands below retry, so that each attempt has the token of its time; anywhere else is fine as long as tokens
/// do not run out. See the [crate](crate) for the pair of layers, [`TokenSource`](crate::TokenSource) for where tokens
/// come from, and [`Attach`] for what the service promises.
#[derive(Clone, Copy, Debug)]
pub struct AttachLayer<T, R = (), O = ()> {
    source: T,
    reject: R,
    observe: O,
}

impl<T> AttachLayer<T> {
    /// Tokens from `source`, which is cloned for each service: its clones share what it knows.
    pub const fn new(source: T) -> Self {
        AttachLayer { source, reject: (), observe: () }
    }
}

impl<T, R, O> AttachLayer<T, R, O> {
    /// Answers in place of failing: see [`OnReject`](towpath_core::OnReject). It is cloned for each call.
    pub fn on_reject<R2>(self, reject: R2) -> AttachLayer<T, R2, O> {
        AttachLayer { source: self.source, reject, observe: self.observe }
    }

    /// Tells `observe` about each call that has to [wait](crate::AttachEvent), and each that gets no token. It is
    /// cloned for each call.
    pub fn observe<O2>(self, observe: O2) -> AttachLayer<T, R, O2> {
        AttachLayer { source: self.source, reject: self.reject, observe }
    }
}

impl<S, T: Clone, R: Clone, O: Clone> Layer<S> for AttachLayer<T, R, O> {
    type Service = Attach<S, T, R, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { source, reject, observe } = self.clone();
        Attach { inner, source, reject, observe }
    }
}

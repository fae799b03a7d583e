//! What is put into a stack.

use super::{
    methods::Place,
    recorder::Recorder,
    service::{Attempts, Calls},
};
use tower_layer::Layer;

/// Records whole calls: stands outermost, on the side of the caller or of the callee. Made by [`Recorder::calls`].
#[derive(Clone, Debug)]
pub struct CallsLayer(pub(super) Recorder);

/// Records the attempts of calls: stands below retry and limits, above what picks endpoints. Made by
/// [`Recorder::attempts`].
#[derive(Clone, Debug)]
pub struct AttemptsLayer(pub(super) Recorder);

impl<S> Layer<S> for CallsLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Calls<S> {
        Calls { inner, recorder: self.0.clone(), last: Place::default() }
    }
}

impl<S> Layer<S> for AttemptsLayer {
    type Service = Attempts<S>;

    fn layer(&self, inner: S) -> Attempts<S> {
        Attempts { inner, recorder: self.0.clone() }
    }
}

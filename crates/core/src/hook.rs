//! What a layer lets others know, and decide.

use crate::{BoxError, Error};
use std::sync::Arc;

/// A hook with one method: a layer reports each thing that it decided as an event of its own type, and
/// metrics, logs and the admin interface listen.
///
/// `()` listens to nothing and costs nothing; a closure `Fn(&E)` listens; a pair listens twice; an `Arc`
/// listens as what is in it. It is called on the path of the call: it must neither block nor panic.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
/// use towpath_core::Observe;
/// struct Opened { until_s: u64 }
/// let opened = AtomicU32::new(0);
/// let observer = (|event: &Opened| { opened.fetch_add(1, Relaxed); assert_eq!(event.until_s, 3) }, ());
/// observer.observe(&Opened { until_s: 3 });
/// assert_eq!(opened.into_inner(), 1);
/// ```
pub trait Observe<E: ?Sized> {
    /// Something was decided.
    fn observe(&self, event: &E);
}

impl<E: ?Sized> Observe<E> for () {
    #[inline]
    fn observe(&self, _event: &E) {}
}

impl<F: Fn(&E), E: ?Sized> Observe<E> for F {
    #[inline]
    fn observe(&self, event: &E) {
        self(event);
    }
}

impl<A: Observe<E>, B: Observe<E>, E: ?Sized> Observe<E> for (A, B) {
    #[inline]
    fn observe(&self, event: &E) {
        self.0.observe(event);
        self.1.observe(event);
    }
}

impl<O: Observe<E> + ?Sized, E: ?Sized> Observe<E> for Arc<O> {
    #[inline]
    fn observe(&self, event: &E) {
        (**self).observe(event);
    }
}

/// What a layer does with a call that it turns away itself: fail, or answer.
///
/// `()` fails: the layer's service has [`BoxError`] for its error, and what the inner service fails with is
/// boxed. [`Answer`] makes an answer of it, and the error type stays what it is: an axum router around
/// which a layer stands remains infallible.
///
/// ```
/// use std::convert::Infallible;
/// use towpath_core::{Answer, Error, ErrorKind, OnReject};
/// let polite = Answer(|error: Error| format!("sorry: {}", error.kind().says()));
/// let outcome: Result<String, Infallible> = polite.reject(ErrorKind::Overloaded.into());
/// assert_eq!(outcome, Ok("sorry: overloaded: refused before processing".to_string()));
/// ```
pub trait OnReject<Res, Err> {
    /// What the layer's service fails with.
    type Error;

    /// The outcome of a call that the layer turned away.
    fn reject(&self, error: Error) -> Result<Res, Self::Error>;

    /// The outcome of a call that the inner service failed.
    fn pass(&self, error: Err) -> Self::Error;
}

impl<Res, Err: Into<BoxError>> OnReject<Res, Err> for () {
    type Error = BoxError;

    fn reject(&self, error: Error) -> Result<Res, BoxError> {
        Err(error.into())
    }

    fn pass(&self, error: Err) -> BoxError {
        error.into()
    }
}

/// Answers what a layer turns away, by a function from [`Error`] to the response: see [`OnReject`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<F>(pub F);

impl<Res, Err, F: Fn(Error) -> Res> OnReject<Res, Err> for Answer<F> {
    type Error = Err;

    fn reject(&self, error: Error) -> Result<Res, Err> {
        Ok((self.0)(error))
    }

    fn pass(&self, error: Err) -> Err {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use std::sync::Mutex;

    #[test]
    fn everybody_listens_once_and_in_order() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let note = |who: &'static str| {
            let seen = seen.clone();
            move |event: &u32| seen.lock().unwrap().push((who, *event))
        };
        let shared: Arc<dyn Observe<u32> + Send + Sync> = Arc::new(note("shared"));
        (note("first"), (shared.clone(), ())).observe(&7);
        shared.observe(&8);
        assert_eq!(*seen.lock().unwrap(), [("first", 7), ("shared", 7), ("shared", 8)]);
    }

    #[test]
    fn failing_boxes_and_answering_keeps() {
        let boxed = OnReject::<u8, std::io::Error>::reject(&(), ErrorKind::RateLimited.into()).unwrap_err();
        assert_eq!(Error::find(&*boxed).unwrap().kind(), ErrorKind::RateLimited);
        let io = std::io::Error::other("inner");
        let passed: BoxError = OnReject::<u8, _>::pass(&(), io);
        assert!(passed.downcast_ref::<std::io::Error>().is_some());

        let answer = Answer(|error: Error| error.kind().code().len());
        let kept: std::io::Error = OnReject::<usize, _>::pass(&answer, std::io::Error::other("inner"));
        assert_eq!(kept.to_string(), "inner");
        assert!(matches!(
            OnReject::<usize, std::io::Error>::reject(&answer, ErrorKind::RateLimited.into()),
            Ok(9)
        ));
    }
}

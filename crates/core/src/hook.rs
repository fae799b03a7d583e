//! What a layer lets others know, and decide.

use crate::{BoxError, Error, Processed};
use std::sync::Arc;

/// A hook with one method: a layer reports each thing that it decided as an event of its own type, and
/// metrics, logs and the admin interface listen.
///
/// `()` listens to nothing and costs nothing; a closure `Fn(&E)` listens; a pair listens twice; an `Arc`
/// or an `Option` listens as what is in it. It is called on the path of the call: it must neither block nor panic.
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

impl<O: Observe<E>, E: ?Sized> Observe<E> for Option<O> {
    #[inline]
    fn observe(&self, event: &E) {
        if let Some(observe) = self {
            observe.observe(event);
        }
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

    /// The outcome of a call that the inner service failed more than once. Says so, where the error has room
    /// for it; otherwise it is [passed on](Self::pass) like any other.
    fn pass_spent(&self, error: Err, _spent: Spent) -> Self::Error {
        self.pass(error)
    }
}

/// What a layer that makes several attempts has to say beside the error of the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// How many attempts were made.
    pub attempts: u16,
    /// Whether the callee may have acted on any of them: the last one may say that it was not processed when
    /// one before it was.
    pub processed: Processed,
    /// Whether there is to be no attempt further up either: see [`Error::with_retry_stop`].
    pub stop: bool,
}

impl Spent {
    /// Says so on an error of the stack.
    pub fn on(self, error: Error) -> Error {
        let processed = match (error.processed(), self.processed) {
            (Processed::Yes, _) | (_, Processed::Yes) => Processed::Yes,
            (Processed::No, Processed::No) => Processed::No,
            _ => Processed::Unknown,
        };
        let stop = self.stop || error.is_retry_stop();
        error.with_attempts(self.attempts).with_processed(processed).with_retry_stop(stop)
    }
}

impl<Res, Err: Into<BoxError>> OnReject<Res, Err> for () {
    type Error = BoxError;

    fn reject(&self, error: Error) -> Result<Res, BoxError> {
        Err(error.into())
    }

    fn pass(&self, error: Err) -> BoxError {
        error.into()
    }

    /// An error that is one of the stack says it itself, and one that holds such an error is wrapped in another
    /// one that says it; any other is passed on as it is.
    fn pass_spent(&self, error: Err, spent: Spent) -> BoxError {
        match error.into().downcast::<Error>() {
            Ok(own) => spent.on(*own).into(),
            Err(foreign) => match Error::find(&*foreign).map(Error::kind) {
                Some(kind) => spent.on(Error::wrapping(kind, foreign)).into(),
                None => foreign,
            },
        }
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
    fn what_several_attempts_came_to() {
        let spent = Spent { attempts: 3, processed: Processed::Unknown, stop: true };
        let pass = |error: BoxError| OnReject::<u8, BoxError>::pass_spent(&(), error, spent);
        let io = |error: Error| BoxError::from(std::io::Error::other(error));
        let refused = Error::from(ErrorKind::Overloaded);
        for (given, is_ours) in
            [(BoxError::from(refused.clone()), true), (io(refused), true), ("x".into(), false)]
        {
            let passed = pass(given);
            let own = Error::find(&*passed);
            assert_eq!(own.is_some(), is_ours, "{passed}");
            if let Some(own) = own {
                assert_eq!((own.kind(), own.attempts()), (ErrorKind::Overloaded, 3));
                assert_eq!((own.processed(), own.is_retry_stop()), (Processed::Unknown, true));
            }
        }
        let done = Spent { attempts: 1, processed: Processed::No, stop: false };
        let acted = done.on(Error::from(ErrorKind::TooLarge).with_processed(Processed::Yes));
        assert_eq!((acted.processed(), acted.is_retry_stop()), (Processed::Yes, false));
        assert_eq!(done.on(ErrorKind::Overloaded.into()).processed(), Processed::No);
        let answer = Answer(|_: Error| 0u8);
        assert_eq!(OnReject::<u8, &str>::pass_spent(&answer, "kept", spent), "kept");
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

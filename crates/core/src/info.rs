//! What a layer over any request type knows of a call.

use crate::{Clock, Context, HasContext, LoadReport, Method, Response};
use tokio::time::Instant;

/// What a layer over any request type knows of a call: its context, when it started, when it was answered.
///
/// Layers have `()` for it unless told otherwise: no context, and a reading of the clock whenever one is
/// needed. [`FromContext`] is for requests that [have a context](HasContext): the first layer reads the clock,
/// and the others find the reading. Write an implementation for a request type of your own that carries such
/// things elsewhere.
pub trait CallInfo<Req, Res> {
    /// The context, if the request has one.
    fn context<'a>(&self, request: &'a Req) -> Option<&'a Context>;

    /// The context, made if it can be.
    fn context_mut<'a>(&self, request: &'a mut Req) -> Option<&'a mut Context>;

    /// When the call started: the reading that is there, or a new one, left there for the others.
    fn start(&self, request: &mut Req) -> Instant;

    /// When the call was answered: the reading that is there, or a new one, left there for the others.
    fn end(&self, response: &mut Res) -> Instant;

    /// The method that is called, if it is known.
    #[inline]
    fn method<'a>(&self, _request: &'a Req) -> Option<&'a Method> {
        None
    }

    /// What the endpoint says of its own load in its answer, if it does.
    #[inline]
    fn load_report(&self, _response: &Res) -> Option<LoadReport> {
        None
    }
}

impl<Req, Res> CallInfo<Req, Res> for () {
    #[inline]
    fn context<'a>(&self, _: &'a Req) -> Option<&'a Context> {
        None
    }

    #[inline]
    fn context_mut<'a>(&self, _: &'a mut Req) -> Option<&'a mut Context> {
        None
    }

    #[inline]
    fn start(&self, _: &mut Req) -> Instant {
        Clock::now()
    }

    #[inline]
    fn end(&self, _: &mut Res) -> Instant {
        Clock::now()
    }
}

/// Reads what there is to know of a call from the request's [`Context`], and from the response if it keeps a
/// reading of the clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct FromContext;

impl<Req: HasContext, Res: HasCompleted> CallInfo<Req, Res> for FromContext {
    #[inline]
    fn context<'a>(&self, request: &'a Req) -> Option<&'a Context> {
        request.context()
    }

    #[inline]
    fn context_mut<'a>(&self, request: &'a mut Req) -> Option<&'a mut Context> {
        request.context_mut()
    }

    #[inline]
    fn start(&self, request: &mut Req) -> Instant {
        Clock::start(request)
    }

    #[inline]
    fn end(&self, response: &mut Res) -> Instant {
        response.completed()
    }

    #[inline]
    fn method<'a>(&self, request: &'a Req) -> Option<&'a Method> {
        request.method()
    }

    #[inline]
    fn load_report(&self, response: &Res) -> Option<LoadReport> {
        response.load_report()
    }
}

/// A response that may keep the reading of the clock that was taken when it arrived, and what else layers have to
/// say beside the answer.
pub trait HasCompleted {
    /// Whether it has come whole, so that to keep it holds up no connection.
    const IS_WHOLE: bool = false;

    /// When it arrived: the reading that it keeps, or a new one, which it keeps if it can.
    fn completed(&mut self) -> Instant;

    /// Leaves something for the caller, if there is room.
    fn leave<T: Clone + Send + Sync + 'static>(&mut self, _value: T) {}

    /// Says that attempts are spent here, if it has a word for that.
    fn stop_retries(&mut self) {}

    /// What the endpoint says of its own load, if it does.
    fn load_report(&self) -> Option<LoadReport> {
        None
    }
}

impl<B> HasCompleted for Response<B> {
    const IS_WHOLE: bool = true;

    #[inline]
    fn completed(&mut self) -> Instant {
        Clock::end(self)
    }

    fn leave<T: Clone + Send + Sync + 'static>(&mut self, value: T) {
        self.extensions_mut().insert(value);
    }

    fn stop_retries(&mut self) {
        self.set_retry_stop();
    }

    #[inline]
    fn load_report(&self) -> Option<LoadReport> {
        if self.metadata().is_empty() {
            return None;
        }
        self.metadata().get_str(LoadReport::KEY)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;
    use std::time::Duration;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_reading_is_left_where_there_is_room() {
        let (mut request, mut response) = (Request::new("A.B", ()), Response::new(()));
        let start = CallInfo::<_, Response<()>>::start(&FromContext, &mut request);
        advance(Duration::from_secs(1)).await;
        assert_eq!(CallInfo::<_, Response<()>>::start(&FromContext, &mut request), start);
        let end = CallInfo::<Request<()>, _>::end(&FromContext, &mut response);
        advance(Duration::from_secs(1)).await;
        assert_eq!(CallInfo::<Request<()>, _>::end(&FromContext, &mut response), end);
        let late = CallInfo::<Request<()>, _>::end(&(), &mut response);
        assert_eq!((end - start, late - end), (Duration::from_secs(1), Duration::from_secs(1)));
        assert!(CallInfo::<_, Response<()>>::context(&(), &request).is_none());
        assert!(CallInfo::<_, Response<()>>::context(&FromContext, &request).is_some());
    }
}

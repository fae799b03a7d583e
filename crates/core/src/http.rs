//! Towpath's words for `http` requests and responses.

use crate::{Clock, Context, Error, ErrorKind, HasCompleted, HasContext, OnReject};
use http::{HeaderValue, Request, Response, StatusCode, header};
use tokio::time::Instant;

/// The context is in the request's extensions: there if a layer or a server put it there, and made when
/// somebody wants to change it.
impl<B> HasContext for Request<B> {
    fn context(&self) -> Option<&Context> {
        self.extensions().get()
    }

    fn context_mut(&mut self) -> Option<&mut Context> {
        Some(self.extensions_mut().get_or_insert_with(Context::inherit))
    }

    /// By its method (RFC 9110, 9.2.2), or if the context says so.
    fn is_idempotent(&self) -> bool {
        self.method().is_idempotent() || self.context().is_some_and(Context::is_idempotent)
    }
}

/// The clock is read each time: the first value among a response's extensions costs an allocation.
impl<B> HasCompleted for Response<B> {
    #[inline]
    fn completed(&mut self) -> Instant {
        Clock::now()
    }

    fn leave<T: Clone + Send + Sync + 'static>(&mut self, value: T) {
        self.extensions_mut().insert(value);
    }
}

impl ErrorKind {
    /// The HTTP status that says the same, to a client of a server that failed with it.
    pub const fn http_status(self) -> StatusCode {
        use ErrorKind as K;
        match self {
            K::Malformed | K::Undecodable => StatusCode::BAD_REQUEST,
            K::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            K::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            K::UnknownMethod => StatusCode::NOT_FOUND,
            K::UnsupportedCodec => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            K::Unauthenticated => StatusCode::UNAUTHORIZED,
            K::PermissionDenied => StatusCode::FORBIDDEN,
            K::HandlerFailed => StatusCode::INTERNAL_SERVER_ERROR,
            K::ConnectionLost | K::ConnectFailed => StatusCode::BAD_GATEWAY,
            K::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            K::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            K::Cancelled | K::Overloaded | K::CircuitOpen | K::NoEndpoint => StatusCode::SERVICE_UNAVAILABLE,
            K::NoConnection | K::Draining => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The gRPC status, by its number, that says the same.
    pub const fn grpc_status(self) -> u16 {
        use ErrorKind as K;
        match self {
            K::Malformed | K::Undecodable => 3,
            K::Version | K::UnknownMethod | K::UnsupportedCodec => 12,
            K::Unauthenticated => 16,
            K::PermissionDenied => 7,
            K::HandlerFailed => 13,
            K::DeadlineExceeded => 4,
            K::Cancelled => 1,
            K::TooLarge | K::Overloaded | K::RateLimited => 8,
            K::ConnectionLost | K::ConnectFailed | K::CircuitOpen | K::NoEndpoint => 14,
            K::NoConnection | K::Draining => 14,
        }
    }
}

/// Answers what a layer turns away with an empty HTTP response: the status of
/// [`ErrorKind::http_status`], and `retry-after` in whole seconds, rounded up, if the error says when.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnswerHttp;

impl<B: Default, Err> OnReject<Response<B>, Err> for AnswerHttp {
    type Error = Err;

    fn reject(&self, error: Error) -> Result<Response<B>, Err> {
        let mut response = Response::new(B::default());
        *response.status_mut() = error.kind().http_status();
        if let Some(after) = error.retry_after() {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        Ok(response)
    }

    fn pass(&self, error: Err) -> Err {
        error
    }
}

/// Answers what a layer turns away with a gRPC response that has no body: the status of
/// [`ErrorKind::grpc_status`], and `grpc-retry-pushback-ms` if the error says when.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnswerGrpc;

impl<B: Default, Err> OnReject<Response<B>, Err> for AnswerGrpc {
    type Error = Err;

    fn reject(&self, error: Error) -> Result<Response<B>, Err> {
        let mut response = Response::new(B::default());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", error.kind().grpc_status().into());
        headers.insert("grpc-message", HeaderValue::from_static(error.kind().says()));
        if let Some(after) = error.retry_after() {
            let ms = u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
            headers.insert("grpc-retry-pushback-ms", ms.into());
        }
        Ok(response)
    }

    fn pass(&self, error: Err) -> Err {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxError, Classify, Clock, DefaultClassify, Verdict};
    use std::{convert::Infallible, time::Duration};

    #[test]
    fn a_context_is_made_when_it_is_changed() {
        let mut request = Request::new(());
        assert!(HasContext::context(&request).is_none());
        let start = Clock::start(&mut request);
        assert_eq!(HasContext::context(&request).unwrap().stamp(), Some(start));
        assert_eq!(Clock::start(&mut request), start);
    }

    #[test]
    fn a_method_may_be_idempotent() {
        let mut request = Request::new(());
        assert!(request.is_idempotent());
        *request.method_mut() = http::Method::POST;
        assert!(!request.is_idempotent());
        request.context_mut().unwrap().set_idempotent(true);
        assert!(request.is_idempotent());
    }

    #[test]
    fn answers_say_when() {
        let error = Error::new(ErrorKind::Overloaded).with_retry_after(Some(Duration::from_millis(1_001)));
        let answer: Result<Response<String>, Infallible> = AnswerHttp.reject(error.clone());
        let Ok(answer) = answer;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (503, &"2".parse().unwrap())
        );
        let answer: Result<Response<String>, Infallible> = AnswerGrpc.reject(error);
        let Ok(answer) = answer;
        assert_eq!(answer.headers()["grpc-status"], "8");
        assert_eq!(answer.headers()["grpc-retry-pushback-ms"], "1001");
        assert_eq!(answer.headers()["grpc-message"], "overloaded: refused before processing");
    }

    /// What our own servers answer is judged by our clients much as the error itself would be.
    #[test]
    fn what_is_answered_is_understood() {
        let classify = DefaultClassify::new();
        for kind in ErrorKind::ALL {
            let own = Error::from(*kind);
            let http: Result<Response<()>, BoxError> = AnswerHttp.reject(own.clone());
            let grpc: Result<Response<()>, BoxError> = AnswerGrpc.reject(own);
            for answer in [http, grpc] {
                let class = classify.classify(answer.as_ref());
                assert_ne!(class.verdict, Verdict::Success, "{kind:?}");
                if *kind == ErrorKind::HandlerFailed || *kind == ErrorKind::DeadlineExceeded {
                    assert!(class.is_failure(), "{kind:?}");
                }
            }
        }
    }
}

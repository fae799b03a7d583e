//! What HTTP and gRPC answers mean.

use super::{
    class::{Class, Verdict},
    default::{AsError, Classify, DefaultClassify},
};
use crate::Processed;
use http::{HeaderMap, Response, StatusCode, header};
use std::time::Duration;

impl Class {
    /// What an HTTP status means.
    ///
    /// - Up to 399: a success.
    /// - 400, 401, 403, 405, 406, 411, 413, 414, 415, 431: the caller's own. 408 and 425 say nothing about the
    ///   server, and another try is useful. Other 4xx, 404 and 409 among them, are answers of the application.
    /// - 429: rate limited, not processed, another try is useful.
    /// - 501 and 505: the caller's own. Other 5xx: the server failed; another try is useful if it is safe.
    ///   503 is soft: overloaded.
    pub fn of_http_status(status: StatusCode) -> Self {
        let answered = |verdict| Class { verdict, processed: Processed::Unknown, ..Class::SUCCESS };
        match status.as_u16() {
            ..400 => Class::SUCCESS,
            400 | 401 | 403 | 405 | 406 | 411 | 413 | 414 | 415 | 431 | 501 | 505 => {
                Class { processed: Processed::No, ..answered(Verdict::Caller) }
            }
            408 | 425 => Class { useful: true, ..answered(Verdict::Nothing) },
            429 => Class { useful: true, soft: true, processed: Processed::No, ..answered(Verdict::Nothing) },
            400..=499 => Class { processed: Processed::Yes, ..answered(Verdict::Answer) },
            503 => Class { soft: true, ..Class::FAILURE },
            _ => Class::FAILURE,
        }
    }

    /// What a gRPC status means, by its number. (`grpc-status` is among the headers only if the answer has no
    /// body; otherwise it follows in the trailers, and whoever reads those asks here.)
    ///
    /// - OK (0): a success. CANCELLED (1): nothing.
    /// - INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, OUT_OF_RANGE: answers of the
    ///   application; so is ABORTED, and another try is useful.
    /// - PERMISSION_DENIED, UNAUTHENTICATED, UNIMPLEMENTED: the caller's own.
    /// - RESOURCE_EXHAUSTED: soft, says nothing about the server, and another try is useful.
    /// - UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and what is not defined: the server failed, and
    ///   another try is useful if it is safe. DATA_LOSS: the server failed, and it is not.
    pub fn of_grpc_status(code: u16) -> Self {
        let class = |verdict, useful, processed| Class { verdict, useful, processed, ..Class::SUCCESS };
        match code {
            0 => Class::SUCCESS,
            1 => class(Verdict::Nothing, false, Processed::Unknown),
            3 | 5 | 6 | 9 | 11 => class(Verdict::Answer, false, Processed::Yes),
            10 => class(Verdict::Answer, true, Processed::Unknown),
            7 | 12 | 16 => class(Verdict::Caller, false, Processed::No),
            8 => Class { soft: true, ..class(Verdict::Nothing, true, Processed::Unknown) },
            15 => Class { useful: false, ..Class::FAILURE },
            _ => Class::FAILURE,
        }
    }
}

impl<B, E: AsError + ?Sized> Classify<Response<B>, E> for DefaultClassify {
    fn classify(&self, outcome: Result<&Response<B>, &E>) -> Class {
        match outcome {
            Ok(response) => of_head(response.status(), response.headers()),
            Err(error) => self.error(error.as_error()),
        }
    }
}

fn of_head(status: StatusCode, headers: &HeaderMap) -> Class {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let is_grpc = text("content-type").is_some_and(|kind| kind.starts_with("application/grpc"));
    if is_grpc && status == StatusCode::OK {
        let mut class = match text("grpc-status") {
            Some(code) => Class::of_grpc_status(code.parse().unwrap_or(2)),
            None => return Class::SUCCESS,
        };
        if let Some(pushback) = text("grpc-retry-pushback-ms") {
            // By gRPC's own rule a value that is negative or no number forbids another try.
            match pushback.parse() {
                Ok(ms) => class.retry_after = Some(Duration::from_millis(ms)),
                Err(_) => class.useful = false,
            }
        }
        return class;
    }
    let class = Class::of_http_status(status);
    // Seconds only: a date needs a clock that agrees with the server's.
    let seconds = text(header::RETRY_AFTER.as_str()).and_then(|after| after.parse().ok());
    Class { retry_after: if class.is_success() { None } else { seconds.map(Duration::from_secs) }, ..class }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxError, Error, ErrorKind};
    use Verdict::{Answer, Caller, Failure, Nothing, Success};

    fn ask(response: &Response<()>) -> Class {
        DefaultClassify::new().classify(Ok::<_, &BoxError>(response))
    }

    fn status(status: u16) -> Class {
        ask(&Response::builder().status(status).body(()).unwrap())
    }

    #[test]
    fn http_statuses() {
        for (code, verdict, useful) in [
            (200, Success, false),
            (302, Success, false),
            (400, Caller, false),
            (404, Answer, false),
            (409, Answer, false),
            (413, Caller, false),
            (425, Nothing, true),
            (429, Nothing, true),
            (500, Failure, true),
            (501, Caller, false),
            (503, Failure, true),
            (504, Failure, true),
        ] {
            let class = status(code);
            assert_eq!((class.verdict, class.useful), (verdict, useful), "{code}");
            assert_eq!(class.soft, code == 429 || code == 503, "{code}");
        }
        assert!(status(429).is_retryable(false));
        assert!(!status(503).is_retryable(false) && status(503).is_retryable(true));
    }

    #[test]
    fn grpc_statuses() {
        let grpc = |code: &str| {
            let head = Response::builder().header("content-type", "application/grpc+proto");
            ask(&head.header("grpc-status", code).body(()).unwrap())
        };
        for (code, verdict, useful) in [
            ("0", Success, false),
            ("1", Nothing, false),
            ("4", Failure, true),
            ("5", Answer, false),
            ("8", Nothing, true),
            ("10", Answer, true),
            ("14", Failure, true),
            ("15", Failure, false),
            ("16", Caller, false),
            ("nonsense", Failure, true),
        ] {
            let class = grpc(code);
            assert_eq!((class.verdict, class.useful), (verdict, useful), "{code}");
        }
        // The status follows in the trailers; and without gRPC's content the header means nothing.
        let open = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        assert!(ask(&open).is_success());
        let plain = Response::builder().header("grpc-status", "14").body(()).unwrap();
        assert!(ask(&plain).is_success());
    }

    #[test]
    fn servers_say_when() {
        let after = |value: &str| {
            let head = Response::builder().status(503).header("retry-after", value);
            ask(&head.body(()).unwrap()).retry_after
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        let pushback = |value: &str| {
            let head = Response::builder().header("content-type", "application/grpc");
            let head = head.header("grpc-status", "14").header("grpc-retry-pushback-ms", value);
            let class = ask(&head.body(()).unwrap());
            (class.useful, class.retry_after)
        };
        assert_eq!(pushback("250"), (true, Some(Duration::from_millis(250))));
        assert_eq!(pushback("-1"), (false, None));
    }

    #[test]
    fn errors_around_http_are_judged_alike() {
        let error: BoxError = Error::new(ErrorKind::CircuitOpen).into();
        let class = DefaultClassify::new().classify(Err::<&Response<()>, _>(&error));
        assert_eq!(class.verdict, Nothing);
    }
}

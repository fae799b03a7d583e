//! The one idea of failure, kind by kind and case by case.

use std::{convert::Infallible, time::Duration};
use towpath_core::{
    BoxError, Class, Classify, CodecId, DefaultClassify, Error, ErrorCode, ErrorKind, Fault, Processed,
    Response, Verdict, fault_codes,
};

fault_codes! {
    enum Svc {
        Plain = "SVC-E-001", "plain";
        Transient = "SVC-W-002", "transient", transient;
        Unhealthy = "SVC-E-003", "unhealthy", unhealthy;
        Both = "SVC-E-004", "both", transient, unhealthy;
    }
}

fn classify() -> DefaultClassify {
    DefaultClassify::new().declare(Svc::declared())
}

fn response(fault: impl Into<Fault>) -> Class {
    response_in(fault, CodecId::JSON)
}

fn response_in(fault: impl Into<Fault>, codec: CodecId) -> Class {
    classify().classify(Ok::<_, &BoxError>(&fault.into().into_response(codec)))
}

fn error(error: impl Into<BoxError>) -> Class {
    classify().classify(Err::<&Response, _>(&error.into()))
}

#[test]
fn kinds() {
    use Verdict::{Caller, Failure, Nothing};
    for kind in ErrorKind::ALL {
        let code = kind.code();
        let verdict = match code {
            "MCP-E-009" | "MCP-E-010" | "MCP-E-011" => Failure,
            "MCP-W-101" | "MCP-W-103" | "MCP-W-107" | "MCP-W-108" => Failure,
            "MCP-W-102" | "MCP-W-104" | "MCP-W-105" | "MCP-W-106" => Nothing,
            _ => Caller,
        };
        let class = error(Error::new(*kind));
        assert_eq!(class.verdict, verdict, "{code}");
        assert_eq!(class.useful, verdict == Failure, "{code}");
        assert_eq!(class.soft, code == "MCP-W-103" || code == "MCP-W-104", "{code}");
        assert_eq!(class.processed, kind.processed(), "{code}");
        assert_eq!(class.code.unwrap(), code);
    }
}

#[test]
fn safe_is_not_useful() {
    for kind in [ErrorKind::CircuitOpen, ErrorKind::NoEndpoint, ErrorKind::RateLimited] {
        let class = error(Error::new(kind));
        assert!(class.is_safe(false) && !class.is_retryable(true), "{kind:?}");
    }
    // What the callee limits, its neighbour may not; what it has no endpoint for, its neighbour has none either.
    assert!(error(Error::new(ErrorKind::RateLimited).with_remote(true)).is_retryable(false));
    assert!(!error(Error::new(ErrorKind::CircuitOpen).with_remote(true)).is_retryable(true));
    assert!(!error(Error::new(ErrorKind::NoEndpoint).with_remote(true)).is_retryable(true));
    let lost = error(Error::new(ErrorKind::ConnectionLost));
    assert!(lost.useful && !lost.is_safe(false) && lost.is_retryable(true));
    let never_sent = Error::new(ErrorKind::ConnectionLost).with_processed(Processed::No);
    assert!(error(never_sent).is_retryable(false));
}

#[test]
fn the_outermost_that_is_known_speaks() {
    let inner = Error::new(ErrorKind::ConnectFailed).with_retry_after(Some(Duration::from_millis(9)));
    let class = error(Error::wrapping(ErrorKind::NoEndpoint, inner));
    assert_eq!((class.verdict, class.useful), (Verdict::Nothing, false));
    assert_eq!(class.retry_after, Some(Duration::from_millis(9)));

    let class = error(std::io::Error::other(Error::new(ErrorKind::Undecodable)));
    assert_eq!(class.verdict, Verdict::Caller);
    let class = error(std::io::Error::other(Fault::from(Svc::Plain)));
    assert_eq!(class.verdict, Verdict::Answer);
    assert_eq!(error("foreign"), Class::FAILURE);
}

#[test]
fn an_application_s_fault_is_an_answer_unless_its_service_says_more() {
    for codec in [CodecId::JSON, CodecId::PROTOBUF] {
        let of = |fault: Fault| {
            let class = response_in(fault, codec);
            (class.verdict, class.useful, class.processed)
        };
        use Processed::{No, Unknown, Yes};
        use Verdict::{Answer, Failure};
        assert_eq!(of(Svc::Plain.into()), (Answer, false, Yes));
        assert_eq!(of(Svc::Transient.into()), (Answer, true, Unknown));
        assert_eq!(of(Svc::Unhealthy.into()), (Failure, false, Unknown));
        assert_eq!(of(Svc::Both.into()), (Failure, true, Unknown));
        assert_eq!(of(Svc::Plain.fault().with_not_processed(true)), (Answer, true, No));
        let after = Some(Duration::from_millis(5));
        assert_eq!(of(Svc::Plain.fault().with_retry_after(after)), (Answer, true, Unknown));
        assert_eq!(response_in(Svc::Plain.fault().with_retry_after(after), codec).retry_after, after);
        assert_eq!(response_in(Svc::Plain, codec).code, Some(Svc::Plain.code()));
    }
    // Whoever was told nothing takes it for an answer.
    let fault = Svc::Both.fault().into_response(CodecId::JSON);
    let class = DefaultClassify::new().classify(Ok::<_, &BoxError>(&fault));
    assert_eq!((class.verdict, class.useful), (Verdict::Answer, false));
}

#[test]
fn what_stands_beside_the_fault() {
    let mut answer = Svc::Transient.fault().into_response(CodecId::JSON);
    answer.metadata_mut().insert("retry-after-ms", "40").unwrap();
    let ask = |answer: &Response| classify().classify(Ok::<_, &BoxError>(answer));
    assert_eq!(ask(&answer).retry_after, Some(Duration::from_millis(40)));
    assert!(ask(&answer).useful);
    answer.metadata_mut().insert("retry-stop", "1").unwrap();
    assert!(!ask(&answer).useful);
    answer.metadata_mut().insert("retry-stop", "0").unwrap();
    assert!(ask(&answer).useful);
}

#[test]
fn the_stack_s_own_faults_within_a_server() {
    let of = |kind: ErrorKind| response(Fault::from_error(&kind.into()));
    assert_eq!(of(ErrorKind::UnknownMethod).verdict, Verdict::Caller);
    assert!(of(ErrorKind::HandlerFailed).is_failure());
    assert!(of(ErrorKind::Overloaded).soft);
    let later = Fault::new(ErrorCode::from_static("MCP-E-099"), "").with_not_processed(true);
    assert!(response(later.clone()).is_failure());
    assert_eq!(response(later).processed, Processed::No);
}

#[test]
fn results_and_what_cannot_be_read() {
    let ask = |answer: &Response| classify().classify(Ok::<_, &Infallible>(answer));
    let mut answer = Response::new(bytes::Bytes::from_static(b"{"));
    assert_eq!(ask(&answer), Class::SUCCESS);
    answer.set_status(towpath_core::Status::Fault);
    let class = ask(&answer);
    assert_eq!((class.verdict, class.useful, class.code), (Verdict::Answer, false, None));
}

#[test]
fn a_closure_classifies() {
    let harsh = |outcome: Result<&u8, &str>| if outcome == Ok(&0) { Class::SUCCESS } else { Class::FAILURE };
    assert!(harsh.classify(Ok(&0)).is_success() && harsh.classify(Err("x")).is_failure());
}

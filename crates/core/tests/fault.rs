//! Faults on the wire: what is written is read, what is broken is refused, and what becomes which.

#![allow(clippy::unwrap_used)] // the helpers are as much a test as the tests

use proptest::prelude::*;
use std::time::Duration;
use towpath_core::{
    Brief, CodecId, Context, Error, ErrorCode, ErrorKind, Fault, InvalidFault, Processed, Response, Status,
    context, fault_codes,
};

const DEDUCT: ErrorCode = ErrorCode::from_static("ORD-E-102");
const USER: ErrorCode = ErrorCode::from_static("USR-E-001");

fn json_of(fault: &Fault) -> String {
    String::from_utf8(fault.to_json().to_vec()).unwrap()
}

#[test]
fn the_json_is_the_protocol_s() {
    let fault = Fault::new(DEDUCT, "Failed to deduct inventory").with_cause(USER).with_trace_id("a1b2c3d4");
    assert_eq!(
        json_of(&fault),
        r#"{"error":{"code":"ORD-E-102","message":"Failed to deduct inventory","cause":"USR-E-001","trace_id":"a1b2c3d4"}}"#
    );
    assert_eq!(json_of(&Fault::new(DEDUCT, "m")), r#"{"error":{"code":"ORD-E-102","message":"m"}}"#);
    let full = Fault::new(DEDUCT, "m")
        .wrap(&Fault::new(USER, ""))
        .with_retry_after(Some(Duration::from_micros(1_500)))
        .with_not_processed(true);
    assert_eq!(
        json_of(&full),
        r#"{"error":{"code":"ORD-E-102","message":"m","cause":"USR-E-001","retry_after_ms":2,"not_processed":true,"chain":["ORD-E-102","USR-E-001"]}}"#
    );
}

#[test]
fn the_protobuf_is_the_protocol_s() {
    let fault = Fault::new(DEDUCT, "m")
        .wrap(&Fault::new(USER, "").with_trace_id("t"))
        .with_retry_after(Some(Duration::from_millis(300)))
        .with_not_processed(true);
    let mut expected = Vec::new();
    let mut text = |tag: u8, s: &str| {
        expected.extend([tag << 3 | 2, s.len() as u8]);
        expected.extend(s.as_bytes());
    };
    text(1, "ORD-E-102");
    text(2, "m");
    text(3, "USR-E-001");
    text(4, "t");
    expected.extend([5 << 3, 0xac, 0x02, 6 << 3, 1]);
    for code in ["ORD-E-102", "USR-E-001"] {
        expected.extend([7 << 3 | 2, 9]);
        expected.extend(code.as_bytes());
    }
    assert_eq!(fault.to_protobuf(), expected);
}

#[test]
fn null_is_as_good_as_left_out_and_what_is_unknown_is_ignored() {
    let plain = Fault::new(DEDUCT, "m");
    for body in [
        r#"{"error":{"code":"ORD-E-102","message":"m"}}"#,
        r#"{"error":{"code":"ORD-E-102","message":"m","cause":null,"trace_id":null,"retry_after_ms":null,"not_processed":null,"chain":null}}"#,
        r#"{"v":[1,{}],"error":{"x":{"y":[]},"message":"m","code":"ORD-E-102","cause":"the database","chain":["nonsense"]},"w":1}"#,
        "\n { \"error\" : { \"code\":\"ORD\\u002dE-102\", \"message\":\"m\" } } ",
    ] {
        assert_eq!(Fault::from_json(body.as_bytes()).as_ref(), Ok(&plain), "{body}");
        let brief = Brief::from_body(CodecId::JSON, body.as_bytes());
        assert_eq!(brief, Ok(Brief::from(&plain)), "{body}");
    }
    assert_eq!(Fault::from_json(br#"{"error":{"code":"ORD-E-102"}}"#).unwrap().message(), "");
    // Protobuf: field 99, a varint, before the code.
    let mut body = vec![0x98, 0x06, 0x01];
    body.extend(plain.to_protobuf());
    assert_eq!(Fault::from_protobuf(&body), Ok(plain));
}

#[test]
fn at_once_is_not_the_same_as_unsaid() {
    let fault = Fault::new(DEDUCT, "m").with_retry_after(Some(Duration::ZERO));
    assert_eq!(Fault::from_json(&fault.to_json()).unwrap(), fault);
    // Protobuf has no 0.
    let least = Some(Duration::from_millis(1));
    assert_eq!(Fault::from_protobuf(&fault.to_protobuf()).unwrap().retry_after(), least);
    let longest = fault.with_retry_after(Some(Duration::MAX));
    let most = Some(Duration::from_millis(u32::MAX.into()));
    assert_eq!(Fault::from_protobuf(&longest.to_protobuf()).unwrap().retry_after(), most);
}

#[test]
fn what_is_no_fault_is_refused() {
    for body in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"error":"ORD-E-102"}"#,
        r#"{"error":{"message":"m"}}"#,
        r#"{"error":{"code":1}}"#,
        r#"{"error":{"code":"ORD-E-102","retry_after_ms":-1}}"#,
        r#"{"error":{"code":"ORD-E-102"}"#,
    ] {
        assert!(matches!(Fault::from_json(body.as_bytes()), Err(InvalidFault::Body(_))), "{body}");
    }
    let bad = Fault::from_json(br#"{"error":{"code":"ord-e-102"}}"#);
    assert_eq!(bad, Err(InvalidFault::Code("ord-e-102".into())));
    assert_eq!(Fault::from_protobuf(b""), Err(InvalidFault::Code(String::new())));
    assert!(matches!(Fault::from_protobuf(b"\x0a\xff"), Err(InvalidFault::Body(_))));
    assert_eq!(Fault::from_body(CodecId::RAW, b""), Err(InvalidFault::Codec(CodecId::RAW)));
    assert_eq!(Fault::from_response(&Response::new("")), Err(InvalidFault::NotAFault));
}

#[test]
fn a_long_chain_and_a_huge_body_take_no_room() {
    let chain = vec!["\"ORD-E-102\""; 50_000].join(",");
    let body = format!(r#"{{"error":{{"code":"ORD-E-102","chain":[{chain}]}}}}"#);
    assert_eq!(Fault::from_json(body.as_bytes()).unwrap().chain().len(), Fault::MAX_CHAIN);
    let huge = vec![b' '; (1 << 20) + 1];
    assert_eq!(Fault::from_json(&huge), Err(InvalidFault::TooLarge));
    assert_eq!(Fault::from_protobuf(&huge), Err(InvalidFault::TooLarge));
    assert_eq!(Brief::from_body(CodecId::JSON, &huge), Err(InvalidFault::TooLarge));
}

#[test]
fn the_longest_text_is_cut_at_a_character_and_can_be_read() {
    let worst = "\u{1}".repeat(200_000);
    let fault = Fault::new(DEDUCT, worst.clone()).with_trace_id(worst);
    assert_eq!(Fault::from_json(&fault.to_json()).unwrap().message().len(), 64 << 10);
    assert_eq!(Fault::from_protobuf(&fault.to_protobuf()).unwrap().message().len(), 64 << 10);
    let odd = Fault::new(DEDUCT, format!("x{}", "é".repeat(40_000)));
    assert_eq!(Fault::from_json(&odd.to_json()).unwrap().message().len(), (64 << 10) - 1);
}

#[test]
fn an_answer_is_in_a_codec_that_the_caller_reads_and_has_a_trace_id() {
    for (asked, answered) in [
        (CodecId::RAW, CodecId::JSON),
        (CodecId::JSON, CodecId::JSON),
        (CodecId::PROTOBUF, CodecId::PROTOBUF),
        (CodecId(17), CodecId::JSON),
    ] {
        let response = Fault::new(DEDUCT, "m").into_response(asked);
        assert_eq!((response.status(), response.codec()), (Status::Fault, answered));
        let read = Fault::from_response(&response).unwrap();
        assert_eq!(read.trace_id().map(str::len), Some(32));
        assert_eq!(Brief::from_response(&response), Ok(Brief::from(&read)));
    }
    let own = Fault::new(DEDUCT, "m").with_trace_id("own").into_response(CodecId::JSON);
    assert_eq!(Fault::from_response(&own).unwrap().trace_id(), Some("own"));
}

#[tokio::test]
async fn the_trace_id_is_the_call_s() {
    let mut call = Context::new();
    call.set_field(context::Field::TraceText, Some("a1b2c3d4".into()));
    let response = context::scope(call, async { Fault::new(DEDUCT, "m").into_response(CodecId::JSON) }).await;
    assert_eq!(Fault::from_response(&response).unwrap().trace_id(), Some("a1b2c3d4"));
}

#[test]
fn errors_of_the_stack_go_over_the_wire_and_come_back() {
    for kind in ErrorKind::ALL {
        for processed in [Processed::No, Processed::Unknown] {
            let error = Error::new(*kind)
                .because("why")
                .at("10.0.0.1:1")
                .with_processed(processed)
                .with_retry_after(Some(Duration::from_millis(7)))
                .with_trace_id("t");
            let fault = Fault::from_error(&error);
            assert!(!fault.to_string().contains("10.0.0.1"));
            let back = Fault::from_json(&fault.to_json()).unwrap().into_error().unwrap();
            assert_eq!((back.kind(), back.detail(), back.trace_id()), (*kind, "why", Some("t")));
            assert_eq!(back.retry_after(), Some(Duration::from_millis(7)));
            assert!(back.is_remote() && !error.is_remote());
            match processed {
                Processed::No => assert_eq!(back.processed(), Processed::No),
                // The protocol's own word for an answer that was too large.
                _ if *kind == ErrorKind::TooLarge => assert_eq!(back.processed(), Processed::Yes),
                _ => assert_eq!(back.processed(), kind.processed()),
            }
        }
    }
    let terse = Fault::from_error(&ErrorKind::Overloaded.into());
    assert_eq!(terse.message(), ErrorKind::Overloaded.says());
    assert_eq!(terse.into_error().unwrap().detail(), "");
}

#[test]
fn codes_of_a_later_version_are_failed_handlers_and_an_application_s_stay() {
    let later = Fault::new(ErrorCode::from_static("MCP-E-099"), "new").into_error().unwrap();
    assert_eq!((later.kind(), later.detail()), (ErrorKind::HandlerFailed, "MCP-E-099 new"));
    let own = Fault::new(DEDUCT, "m");
    assert_eq!(own.clone().into_error().unwrap_err(), own);
    let above = own.wrap_error(&later);
    assert_eq!(above.cause().unwrap(), "MCP-E-099");
}

fault_codes! {
    /// What the order service fails with.
    pub enum OrderFault {
        /// A line has a quantity
        /// of zero | less.
        BadQuantity = "ORD-E-003", "quantity must be positive";
        Busy = "ORD-W-201", "busy", transient;
        Broken = "ORD-E-900", "gone", unhealthy;
        Both = "ORD-E-901", "both", transient, unhealthy;
    }
}

#[test]
fn declared_codes() {
    assert_eq!(OrderFault::ALL.len(), OrderFault::declared().len());
    for one in OrderFault::ALL {
        assert_eq!(OrderFault::parse(one.code()), Some(*one));
        let fault = Fault::from(*one);
        assert_eq!((fault.code(), fault.message()), (ErrorCode::from(*one), one.message()));
    }
    assert_eq!(OrderFault::parse(USER), None);
    let traits = |one: OrderFault| (one.traits().transient, one.traits().unhealthy);
    assert_eq!(traits(OrderFault::BadQuantity), (false, false));
    assert_eq!(traits(OrderFault::Busy), (true, false));
    assert_eq!(traits(OrderFault::Broken), (false, true));
    assert_eq!(traits(OrderFault::Both), (true, true));
    assert_eq!(OrderFault::Busy.fault_with(format!("{} left", 3)).message(), "3 left");
    assert_eq!(Fault::new(OrderFault::Busy, "x").code(), "ORD-W-201");
    assert_eq!(
        OrderFault::docs(),
        "| code | message | meaning | |\n| --- | --- | --- | --- |\n\
         | `ORD-E-003` | quantity must be positive | A line has a quantity of zero \\| less. |  |\n\
         | `ORD-W-201` | busy |  | transient |\n\
         | `ORD-E-900` | gone |  | unhealthy |\n\
         | `ORD-E-901` | both |  | transient, unhealthy |\n"
    );
}

fn codes() -> impl Strategy<Value = ErrorCode> {
    "[A-Z]{2,8}-[EW]-[0-9]{3}".prop_map(|text| text.parse().unwrap())
}

prop_compose! {
    fn faults()(
        code in codes(),
        message in "\\PC*",
        cause in proptest::option::of(codes()),
        inner in proptest::option::of(codes()),
        trace_id in proptest::option::of(".{1,20}"),
        retry_after_ms in proptest::option::of(1u32..),
        not_processed: bool,
    ) -> Fault {
        let mut fault = Fault::new(code, message)
            .with_retry_after(retry_after_ms.map(|ms| Duration::from_millis(ms.into())))
            .with_not_processed(not_processed);
        if let Some(cause) = cause {
            fault = fault.with_cause(cause);
        }
        if let Some(inner) = inner {
            fault = fault.wrap(&Fault::new(inner, ""));
        }
        match trace_id {
            Some(trace_id) => fault.with_trace_id(trace_id),
            None => fault,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(fault in faults()) {
        let brief = Ok(Brief::from(&fault));
        prop_assert_eq!(Brief::from_body(CodecId::JSON, &fault.to_json()), brief.clone());
        prop_assert_eq!(Brief::from_body(CodecId::PROTOBUF, &fault.to_protobuf()), brief);
        prop_assert_eq!(Fault::from_json(&fault.to_json()), Ok(fault.clone()));
        prop_assert_eq!(Fault::from_protobuf(&fault.to_protobuf()), Ok(fault));
    }

    #[test]
    fn any_bytes(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for codec in [CodecId::JSON, CodecId::PROTOBUF] {
            let read = Fault::from_body(codec, &body);
            if let (Ok(fault), Ok(brief)) = (read, Brief::from_body(codec, &body)) {
                prop_assert_eq!(Brief::from(&fault), brief);
            }
        }
    }

    #[test]
    fn a_byte_changed(fault in faults(), at: prop::sample::Index, to: u8) {
        for (codec, body) in [(CodecId::JSON, fault.to_json()), (CodecId::PROTOBUF, fault.to_protobuf())] {
            let mut body = body.to_vec();
            let at = at.index(body.len());
            body[at] = to;
            let _ = Fault::from_body(codec, &body);
        }
    }
}

#[test]
fn what_led_to_a_fault_of_the_stack_is_not_lost() {
    let below = Fault::new(ErrorCode::from_static("USR-E-001"), "no such user");
    let came = Fault::new(ErrorKind::HandlerFailed, "failed").wrap(&below).with_trace_id("t");
    let error = came.clone().into_error().unwrap();
    assert_eq!(Fault::from_error(&error), came, "passed on as it came");
    let own = Fault::new(ErrorCode::from_static("ORD-E-102"), "no order").wrap_error(&error);
    assert_eq!(own.cause().unwrap(), "USR-E-001");
    let chain: Vec<_> = own.chain().iter().map(ErrorCode::as_str).collect();
    assert_eq!(chain, ["ORD-E-102", "MCP-E-009", "USR-E-001"]);
}

#[test]
fn a_fault_of_the_stack_stays_as_it_came() {
    let below = Fault::new(ErrorCode::from_static("USR-E-001"), "no such user");
    for code in ["MCP-E-004", "MCP-E-777", "MCP-W-101", "MCP-W-103"] {
        for came in [
            Fault::new(ErrorCode::from_static(code), "m").with_trace_id("t"),
            Fault::new(ErrorCode::from_static(code), "").with_not_processed(true),
            Fault::new(ErrorCode::from_static(code), "m").with_retry_after(Some(Duration::from_millis(3))),
            Fault::new(ErrorCode::from_static(code), "m").wrap(&below),
            Fault::new(ErrorCode::from_static(code), "m").with_cause(below.code()),
        ] {
            let error = came.clone().into_error().unwrap().at("10.0.0.1:1");
            assert_eq!(error.remote_fault(), Some(&came));
            assert_eq!(error.clone().remote_fault(), Some(&came));
            assert_eq!(error.trace_id(), came.trace_id());
            // Only what says more than the error itself.
            let led = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Fault>());
            assert_eq!(led, came.cause().map(|_| &came));
        }
    }
    // What the code means is known without the peer's word; the fault does not say what the peer did not.
    let error = Fault::new(ErrorKind::UnknownMethod, "m").into_error().unwrap();
    assert!(error.processed() == Processed::No && !error.remote_fault().unwrap().not_processed());
    assert_eq!(error.detail(), "m");
    assert!(Error::new(ErrorKind::UnknownMethod).with_remote(true).remote_fault().is_none());
    let outer = Error::wrapping(ErrorKind::NoEndpoint, error);
    assert!(outer.remote_fault().is_none());
}

#[test]
fn what_stands_for_a_fault_keeps_its_trace() {
    let came = Fault::new(ErrorKind::Overloaded, "m").with_trace_id("t").into_error().unwrap();
    assert!(came.to_string().contains("m [trace t]"), "{came}");
    assert_eq!(Error::wrapping(ErrorKind::NoEndpoint, came.clone()).trace_id(), Some("t"));
    let own = came.because("why").with_trace_id("u");
    assert_eq!((own.detail(), own.trace_id()), ("why", Some("u")));
}

/// Attempts that are spent at the bottom of a chain are so at each hop further up.
#[test]
fn that_attempts_are_spent_goes_all_the_way_up() {
    let spent = Error::new(ErrorKind::ConnectFailed).with_retry_stop(true);
    let own = |fault: Fault| fault.into_response(CodecId::JSON);
    for answer in [
        own(Fault::from_error(&spent)),
        own(Fault::new(DEDUCT, "").wrap_error(&spent)),
        own(Fault::new(DEDUCT, "").wrap_error(&Error::wrapping(ErrorKind::NoEndpoint, spent.clone()))),
    ] {
        assert_eq!(answer.metadata().get_str("retry-stop"), Some("1"));
        let fault = Fault::from_response(&answer).unwrap();
        assert!(fault.is_retry_stop());
        assert!(own(Fault::new(USER, "").wrap(&fault)).is_retry_stop());
        if let Ok(error) = fault.into_error() {
            assert!(error.is_retry_stop() && !towpath_core::Class::of_error(&error).useful);
        }
    }
    let other = Fault::new(DEDUCT, "").wrap(&Fault::new(USER, ""));
    assert!(
        !own(other).is_retry_stop()
            && !own(Fault::from_error(&ErrorKind::ConnectFailed.into())).is_retry_stop()
    );
}

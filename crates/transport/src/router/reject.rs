//! What a call is refused with before its handler begins.

use std::fmt::{self, Display, Write};
use towpath_codec::BodyError;
use towpath_core::{CodecId, ErrorKind, Fault, Method};

/// The longest piece of a peer's text that comes back in a message, in characters.
const SHOWN: usize = 200;

/// A peer's text, escaped and cut: it may be long, and it may be meant for a log.
struct Shown<'a>(&'a str);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(SHOWN) {
            if c.is_control() { write!(f, "{}", c.escape_debug())? } else { f.write_char(c)? }
        }
        if chars.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}

fn refused(kind: ErrorKind, message: String) -> Fault {
    Fault::new(kind, message).with_not_processed(true)
}

/// MCP-E-004.
#[cold]
pub(super) fn unknown_method(method: &Method) -> Fault {
    refused(ErrorKind::UnknownMethod, format!("{} is not served here", Shown(method.as_str())))
}

/// MCP-E-005. `takes` names what the method reads.
#[cold]
pub(super) fn unsupported_codec(method: &Method, takes: &str, got: CodecId) -> Fault {
    refused(
        ErrorKind::UnsupportedCodec,
        format!("{} takes {takes}, and the body is {got}", Shown(method.as_str())),
    )
}

/// MCP-E-006.
#[cold]
pub(super) fn undecodable(method: &Method, why: &BodyError) -> Fault {
    let (method, why) = (method.as_str(), why.to_string());
    refused(ErrorKind::Undecodable, format!("{}: {}", Shown(method), Shown(&why)))
}

/// MCP-E-009, before the handler began: the server is put together wrongly.
#[cold]
pub(super) fn misconfigured(method: &Method, why: &str) -> Fault {
    refused(ErrorKind::HandlerFailed, format!("{} cannot be served: {why}", Shown(method.as_str())))
}

/// MCP-E-009: the handler has acted, and its answer cannot be written.
#[cold]
pub(super) fn unwritable(why: &BodyError) -> Fault {
    let why = why.to_string();
    Fault::new(ErrorKind::HandlerFailed, format!("the answer cannot be sent: {}", Shown(&why)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_codec::Json;

    #[test]
    fn a_peer_s_text_is_cut_and_escaped() {
        let fault = unknown_method(&Method::from(format!("A.\n{}", "é".repeat(60_000))));
        assert!(fault.message().starts_with("A.\\né"), "{}", fault.message());
        assert!(fault.message().chars().count() < SHOWN + 40);
        assert!(fault.message().contains("é… is not served here"));
        let short = unknown_method(&Method::from_static("A.B"));
        assert_eq!(short.message(), "A.B is not served here");
    }

    #[test]
    fn refused_is_not_processed() {
        let m = Method::from_static("A.B");
        for (fault, code) in [
            (unknown_method(&m), "MCP-E-004"),
            (unsupported_codec(&m, "json", CodecId::RAW), "MCP-E-005"),
            (undecodable(&m, &BodyError::decode::<Json>("x")), "MCP-E-006"),
            (misconfigured(&m, "x"), "MCP-E-009"),
        ] {
            assert_eq!(fault.code(), code);
            assert!(fault.not_processed() && fault.message().contains("A.B"), "{fault}");
        }
        assert!(!unwritable(&BodyError::encode::<Json>("x")).not_processed());
    }
}

//! Which answers are kept, and what is kept of them.

use bytes::Bytes;
use towpath_core::{BoxError, Classify, DefaultClassify, Processed, Response, Verdict};

/// The mark on an answer that was given before: the key of a metadata entry, or a header, with the value `true`.
/// It is Stripe's word.
pub const REPLAYED: &str = "idempotent-replayed";

/// An answer that can be given again.
///
/// [`Response`] with a body of `Bytes` is one; with the feature `http` so is an `http::Response` of such a body.
pub trait Replay: Clone {
    /// What is kept of it: all that the caller sees, in memory of its own, with the mark that it is given again.
    fn keep(&self) -> Self;

    /// How many bytes that takes.
    fn weight(&self) -> usize;
}

/// Kept are status, codec, metadata and body; not what was beside them in this process.
impl Replay for Response<Bytes> {
    fn keep(&self) -> Self {
        // A copy, since it may be a small part of a large buffer.
        let mut kept = Response::new(Bytes::copy_from_slice(self.body()));
        kept.set_status(self.status());
        kept.set_codec(self.codec());
        *kept.metadata_mut() = self.metadata().clone();
        // The key is a valid one.
        let _ = kept.metadata_mut().insert(REPLAYED, "true");
        kept
    }

    fn weight(&self) -> usize {
        self.body().len() + self.metadata().as_wire().len()
    }
}

/// Kept are status, headers and body; not the extensions.
#[cfg(feature = "http")]
impl Replay for http::Response<Bytes> {
    fn keep(&self) -> Self {
        let mut kept = http::Response::new(Bytes::copy_from_slice(self.body()));
        *kept.status_mut() = self.status();
        *kept.version_mut() = self.version();
        *kept.headers_mut() = self.headers().clone();
        kept.headers_mut().insert(REPLAYED, http::HeaderValue::from_static("true"));
        kept
    }

    fn weight(&self) -> usize {
        let headers = self.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
        self.body().len() + headers.sum::<usize>()
    }
}

/// Says which answers are given again. An error never is, nor what was not answered.
///
/// `DefaultClassify` keeps what is final: results, and faults of the application that do not ask for another try (by
/// `not_processed`, by `retry_after_ms`, or by being declared transient or unhealthy). A closure `Fn(&Response) -> bool`
/// decides otherwise.
pub trait Worth<Res> {
    /// Whether a repetition gets this answer, too.
    fn is_kept(&self, response: &Res) -> bool;
}

impl<Res> Worth<Res> for DefaultClassify
where
    DefaultClassify: Classify<Res, BoxError>,
{
    fn is_kept(&self, response: &Res) -> bool {
        let class = self.classify(Ok(response));
        let answered = matches!(class.verdict, Verdict::Success | Verdict::Answer);
        answered && class.processed == Processed::Yes && !class.useful && class.retry_after.is_none()
    }
}

impl<F: Fn(&Res) -> bool, Res> Worth<Res> for F {
    fn is_kept(&self, response: &Res) -> bool {
        self(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use towpath_core::{CodecId, ErrorKind, Fault};

    #[test]
    fn which_are_kept() {
        let kept = |fault: Fault| DefaultClassify::new().is_kept(&fault.into_response(CodecId::JSON));
        let fault = || Fault::new(towpath_core::ErrorCode::from_static("ORD-E-102"), "no stock");
        assert!(DefaultClassify::new().is_kept(&Response::new(Bytes::new())));
        assert!(kept(fault()));
        assert!(!kept(fault().with_not_processed(true)));
        assert!(!kept(fault().with_retry_after(Some(Duration::from_secs(1)))));
        for kind in ErrorKind::ALL {
            assert!(!kept(Fault::new(*kind, "of the stack")), "{kind:?}");
        }
        let unreadable = {
            let mut response = Response::new(Bytes::from_static(b"?"));
            response.set_status(towpath_core::Status::Fault);
            response
        };
        assert!(!DefaultClassify::new().is_kept(&unreadable));
    }

    #[test]
    fn what_is_kept() {
        let block = Bytes::from(vec![7u8; 1 << 16]);
        let mut response = Response::new(block.slice(..4));
        response.set_codec(CodecId::JSON);
        response.metadata_mut().insert("load", "q=1").unwrap();
        response.extensions_mut().insert(1u8);
        let kept = response.keep();
        assert_ne!(kept.body().as_ptr(), response.body().as_ptr());
        assert_eq!((kept.body(), kept.codec()), (response.body(), CodecId::JSON));
        assert_eq!(
            (kept.metadata().get_str("load"), kept.metadata().get_str(REPLAYED)),
            (Some("q=1"), Some("true"))
        );
        assert!(kept.extensions().is_empty() && kept.weight() > 4);
    }
}

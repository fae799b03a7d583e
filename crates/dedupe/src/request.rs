//! What makes two requests the same call.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::fmt;
use tokio::time::Instant;
use towpath_core::{Clock, Identity, Request, context::Field};

/// A request that can have an idempotency key, and what tells whether another one with that key is the same call.
///
/// [`Request`] has its key in the context; with the feature `http`, `http::Request` has it in the header
/// `idempotency-key`. Implement it for a request type of your own, or for a newtype around a foreign one.
pub trait Keyed {
    /// The key.
    fn key(&self) -> Option<&[u8]>;

    /// Whose key it is: the same key of another one is another key. `None`: nobody in particular.
    fn owner(&self) -> Option<Owner<'_>>;

    /// Everything that a repetition must have alike: what is called, with what body.
    fn describe(&self, print: &mut Fingerprint);

    /// What is called: the method, or the path.
    fn method(&self) -> &str;

    /// When the call started: a reading of the clock that is there, or a new one.
    fn start(&mut self) -> Instant {
        Clock::now()
    }

    /// The call had to wait before it was passed on: a reading that [`start`](Self::start) left is old by now.
    fn waited(&mut self) {}

    /// When the answer is of no use any more.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The call is about to be answered without being made.
    fn accept(&self) {}
}

/// Whose a key is.
#[derive(Clone, Copy)]
pub enum Owner<'a> {
    /// Somebody who was verified.
    Identity(&'a str),
    /// Whoever has this credential.
    Credential(&'a [u8]),
    /// Whoever has this session.
    Session(&'a [u8]),
    /// As whoever set up the layer has it.
    Other(&'a [u8]),
}

/// A credential is a secret, and so is a session.
impl fmt::Debug for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Identity(subject) => f.debug_tuple("Identity").field(subject).finish(),
            Owner::Credential(_) => f.write_str("Credential(…)"),
            Owner::Session(_) => f.write_str("Session(…)"),
            Owner::Other(_) => f.write_str("Other(…)"),
        }
    }
}

/// Says whose a request's key is, in place of [`Keyed::owner`]: a closure `Fn(&Request) -> Option<Bytes>`. `()` leaves it
/// to the request.
pub trait OwnerOf<Req> {
    /// Adds the owner to what the key is known by.
    fn describe(&self, request: &Req, print: &mut Fingerprint);
}

impl<Req: Keyed> OwnerOf<Req> for () {
    fn describe(&self, request: &Req, print: &mut Fingerprint) {
        print.owner(request.owner());
    }
}

impl<F: Fn(&Req) -> Option<Bytes>, Req> OwnerOf<Req> for F {
    fn describe(&self, request: &Req, print: &mut Fingerprint) {
        print.owner(self(request).as_deref().map(Owner::Other));
    }
}

/// A digest (SHA-256) of parts: that two differ in their parts and not in this is not to be expected, even if
/// somebody tries.
#[derive(Clone)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    pub(crate) fn new() -> Self {
        Fingerprint(Sha256::new())
    }

    /// Adds a part. `ab` and `c` are other parts than `a` and `bc`.
    pub fn part(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn owner(&mut self, owner: Option<Owner<'_>>) {
        let (kind, text) = match owner {
            None => (0, &[][..]),
            Some(Owner::Identity(subject)) => (1, subject.as_bytes()),
            Some(Owner::Credential(credential)) => (2, credential),
            Some(Owner::Session(session)) => (3, session),
            Some(Owner::Other(other)) => (4, other),
        };
        self.part(&[kind]);
        self.part(text);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

/// Alike are the method, the codec and the body; not the metadata, where a repetition may say that it is one.
impl<B: AsRef<[u8]>> Keyed for Request<B> {
    #[inline]
    fn key(&self) -> Option<&[u8]> {
        self.context().field(Field::IdempotencyKey).map(|key| &key[..])
    }

    fn owner(&self) -> Option<Owner<'_>> {
        if let Some(identity) = self.extensions().get::<Identity>() {
            return Some(Owner::Identity(identity.subject()));
        }
        let field = |field| self.context().field(field).map(|value| &value[..]);
        let credential = field(Field::Authorization).map(Owner::Credential);
        credential.or_else(|| field(Field::SessionId).map(Owner::Session))
    }

    fn describe(&self, print: &mut Fingerprint) {
        print.part(Request::method(self).as_bytes());
        print.part(&[self.codec().0]);
        print.part(self.body().as_ref());
    }

    fn method(&self) -> &str {
        Request::method(self).as_str()
    }

    fn start(&mut self) -> Instant {
        Clock::start(self)
    }

    fn waited(&mut self) {
        self.context_mut().set_stamp(None);
    }

    fn deadline(&self) -> Option<Instant> {
        self.context().deadline()
    }

    fn accept(&self) {
        Request::accept(self);
    }
}

/// Alike are the method, the URI and the body, which has to be there as a whole.
#[cfg(feature = "http")]
impl<B: AsRef<[u8]>> Keyed for http::Request<B> {
    #[inline]
    fn key(&self) -> Option<&[u8]> {
        self.headers().get("idempotency-key").map(http::HeaderValue::as_bytes)
    }

    fn owner(&self) -> Option<Owner<'_>> {
        if let Some(identity) = self.extensions().get::<Identity>() {
            return Some(Owner::Identity(identity.subject()));
        }
        let header = |name| self.headers().get(name).map(http::HeaderValue::as_bytes);
        let credential = header(http::header::AUTHORIZATION).map(Owner::Credential);
        credential.or_else(|| header(http::header::COOKIE).map(Owner::Session))
    }

    fn describe(&self, print: &mut Fingerprint) {
        print.part(http::Request::method(self).as_str().as_bytes());
        print.part(self.uri().path_and_query().map_or("", |path| path.as_str()).as_bytes());
        print.part(self.body().as_ref());
    }

    fn method(&self) -> &str {
        self.uri().path()
    }

    fn deadline(&self) -> Option<Instant> {
        towpath_core::HasContext::context(self)?.deadline()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(request: &Request) -> [u8; 32] {
        let mut print = Fingerprint::new();
        request.describe(&mut print);
        print.finish()
    }

    #[test]
    fn what_is_alike() {
        let one = Request::new("A.B", Bytes::from_static(b"x"));
        let mut other = Request::new("A.B", Bytes::from_static(b"x"));
        other.metadata_mut().insert("tenant", "acme").unwrap();
        other.context_mut().set_attempt(3);
        assert_eq!(print(&one), print(&other));
        other.set_codec(towpath_core::CodecId::JSON);
        assert_ne!(print(&one), print(&other));
        assert_ne!(print(&one), print(&Request::new("A.Bx", Bytes::new())), "where a part ends counts");
    }

    #[test]
    fn whose_it_is() {
        let mut request = Request::new("A.B", Bytes::new());
        assert!(request.owner().is_none());
        let mut set = |field, value: &'static [u8]| {
            request.context_mut().set_field(field, Some(Bytes::from_static(value)));
            format!("{:?}", request.owner().unwrap())
        };
        assert_eq!(set(Field::SessionId, b"hush"), "Session(…)");
        assert_eq!(set(Field::Authorization, b"hush"), "Credential(…)");
        request.extensions_mut().insert(Identity::new("shop"));
        assert_eq!(format!("{:?}", request.owner().unwrap()), "Identity(\"shop\")");
    }
}

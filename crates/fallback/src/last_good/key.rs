//! Which calls are the same.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hash, Hasher},
};
use towpath_core::{Identity, Patterns, Request, context::Field};

/// Says which calls are the same, so that the answer to one is good for the other.
///
/// A closure `Fn(&Request) -> Option<impl Hash>` is one: what it gives must hold everything on which the answer
/// depends, **also who asks**, and `None` where no answer is to be kept. For MCP there is [`SameCall`].
pub trait KeyOf<Req> {
    /// Hashes the call's key; whether it has one.
    fn hash_key(&self, request: &Req, into: &mut impl Hasher) -> bool;
}

impl<Req, K: Hash, F: Fn(&Req) -> Option<K>> KeyOf<Req> for F {
    fn hash_key(&self, request: &Req, into: &mut impl Hasher) -> bool {
        match self(request) {
            Some(key) => {
                key.hash(into);
                true
            }
            None => false,
        }
    }
}

/// Calls are the same if method, body and its encoding, metadata, session and caller are: credential and verified
/// identity. The context's other fields (deadline, trace, priority) make no difference.
///
/// A metadata entry that is different in each call (an id of one's own, say) makes all calls different; then a
/// closure that knows what matters is better.
#[derive(Clone, Debug)]
pub struct SameCall(Patterns);

impl SameCall {
    /// For these methods only, by [`Patterns`]. They should only read: the last good answer to a write says that
    /// something was done which was not.
    pub fn of<P: AsRef<str>>(methods: impl IntoIterator<Item = P>) -> Self {
        SameCall(methods.into_iter().collect())
    }
}

impl<B: AsRef<[u8]>> KeyOf<Request<B>> for SameCall {
    fn hash_key(&self, request: &Request<B>, into: &mut impl Hasher) -> bool {
        let method = request.method().as_str();
        if !self.0.matches(method) {
            return false;
        }
        // Each with its length: what is at the end of one is not at the beginning of the next.
        method.hash(into);
        request.codec().hash(into);
        request.metadata().as_wire().hash(into);
        for field in [Field::Authorization, Field::SessionId] {
            request.context().field(field).hash(into);
        }
        request.extensions().get::<Identity>().map(Identity::subject).hash(into);
        request.body().as_ref().hash(into);
        true
    }
}

/// 128 bits that stand for a key. With keys of their own (SipHash, the standard library's), so that nobody can find
/// two calls that have the same: an answer to somebody else must not be given.
#[derive(Debug)]
pub(crate) struct Digests(RandomState, RandomState);

impl Digests {
    pub(crate) fn new() -> Self {
        Digests(RandomState::new(), RandomState::new())
    }

    pub(crate) fn digest<Req>(&self, key: &impl KeyOf<Req>, request: &Req) -> Option<u128> {
        let mut both = Both(self.0.build_hasher(), self.1.build_hasher());
        // The two of them differ by more than their keys, which the standard library takes one after another.
        both.1.write_u8(1);
        let has_key = key.hash_key(request, &mut both);
        has_key.then(|| u128::from(both.0.finish()) << 64 | u128::from(both.1.finish()))
    }
}

struct Both<H>(H, H);

impl<H: Hasher> Hasher for Both<H> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
        self.1.write(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn what_makes_calls_the_same() {
        let (digests, key) = (Digests::new(), SameCall::of(["User.*"]));
        let of = |change: &dyn Fn(&mut Request)| {
            let mut request = Request::new("User.Get", Bytes::from_static(b"7"));
            change(&mut request);
            digests.digest(&key, &request)
        };
        let plain = of(&|_| ());
        assert!(plain.is_some());
        let same: [&dyn Fn(&mut Request); 3] = [&|_| (), &|r| r.context_mut().set_attempt(3), &|r| {
            r.context_mut().set_deadline(Some(tokio::time::Instant::now()))
        }];
        let others: [&dyn Fn(&mut Request); 7] = [
            &|r| r.set_method("User.List"),
            &|r| *r.body_mut() = Bytes::from_static(b"8"),
            &|r| r.set_codec(towpath_core::CodecId::JSON),
            &|r| r.metadata_mut().insert("tenant", "b").unwrap(),
            &|r| r.context_mut().set_field(Field::Authorization, Some("Bearer b".into())),
            &|r| r.context_mut().set_field(Field::SessionId, Some("b".into())),
            &|r| r.extensions_mut().insert(Identity::new("b")),
        ];
        assert!(same.iter().all(|change| of(change) == plain));
        let mut seen: Vec<_> = others.iter().map(|change| of(change)).chain([plain]).collect();
        assert!(seen.iter().all(Option::is_some));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 8);
        assert_eq!(of(&|r| r.set_method("Order.Place")), None);
        // What is known of one process is of no use in another.
        assert_ne!(Digests::new().digest(&key, &Request::new("User.Get", Bytes::from_static(b"7"))), plain);
    }
}

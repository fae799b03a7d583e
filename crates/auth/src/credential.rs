//! Where a request has its credential.

use crate::Token;
use tokio::time::Instant;
use towpath_core::{Clock, Extensions, Identity, Request, context::Field};

/// A request that can carry a credential, and what these layers have to know of it beside.
///
/// [`Request`] has its credential in the context, whence the transport writes it into the frame; with the feature
/// `http`, `http::Request` has it in the header `authorization`. Implement it for a request type of your own, or
/// for a newtype around a foreign one.
pub trait Credential {
    /// What stands under `authorization`: scheme and token.
    fn authorization(&self) -> Option<&[u8]>;

    /// Puts a token there, in place of what was there.
    fn set_authorization(&mut self, token: &Token);

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

    /// Leaves word of who calls, for those further in.
    fn set_identity(&mut self, identity: &Identity);

    /// The place of the identity, if that is among towpath's own [`Extensions`]: what was put there for one call is
    /// then used again for the next one of the same connection. `None`: [`set_identity`](Self::set_identity) is
    /// called each time.
    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        None
    }
}

impl<B> Credential for Request<B> {
    #[inline]
    fn authorization(&self) -> Option<&[u8]> {
        self.context().field(Field::Authorization).map(|value| &value[..])
    }

    fn set_authorization(&mut self, token: &Token) {
        self.context_mut().set_field(Field::Authorization, Some(token.to_authorization()));
    }

    #[inline]
    fn method(&self) -> &str {
        Request::method(self).as_str()
    }

    #[inline]
    fn start(&mut self) -> Instant {
        Clock::start(self)
    }

    fn waited(&mut self) {
        self.context_mut().set_stamp(None);
    }

    #[inline]
    fn deadline(&self) -> Option<Instant> {
        self.context().deadline()
    }

    fn set_identity(&mut self, identity: &Identity) {
        Request::extensions_mut(self).insert(identity.clone());
    }

    #[inline]
    fn extensions_mut(&mut self) -> Option<&mut Extensions> {
        Some(Request::extensions_mut(self))
    }
}

/// The method is the path of its URI; the identity is in its extensions, where axum's `Extension` finds it.
#[cfg(feature = "http")]
impl<B> Credential for http::Request<B> {
    fn authorization(&self) -> Option<&[u8]> {
        self.headers().get(http::header::AUTHORIZATION).map(http::HeaderValue::as_bytes)
    }

    fn set_authorization(&mut self, token: &Token) {
        // Visible ASCII is a header's value: it is never refused.
        if let Ok(mut value) = http::HeaderValue::from_maybe_shared(token.to_authorization()) {
            value.set_sensitive(true);
            self.headers_mut().insert(http::header::AUTHORIZATION, value);
        }
    }

    fn method(&self) -> &str {
        self.uri().path()
    }

    fn deadline(&self) -> Option<Instant> {
        towpath_core::HasContext::context(self)?.deadline()
    }

    fn set_identity(&mut self, identity: &Identity) {
        http::Request::extensions_mut(self).insert(identity.clone());
    }
}

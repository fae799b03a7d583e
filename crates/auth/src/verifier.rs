//! Whether a credential is good, and what its owner may do.

use crate::Token;
use std::{
    fmt,
    future::{Future, Ready, ready},
    sync::Arc,
};
use towpath_core::{Error, Identity};

/// Says whose a credential is.
///
/// A closure `Fn(&Token, &Request) -> Result<Identity, Error>` is one that knows at once, and [`VerifyAsync`] makes one of
/// a closure that has to ask somebody; [`StaticTokens`](crate::StaticTokens) has its list. What it fails with is what
/// the caller hears: [`ErrorKind::Unauthenticated`](towpath_core::ErrorKind::Unauthenticated) for a credential that is
/// not good, [`ErrorKind::PermissionDenied`](towpath_core::ErrorKind::PermissionDenied) for one that is good for
/// something else; an error of another kind if it cannot be known just now
/// ([`ErrorKind::Overloaded`](towpath_core::ErrorKind::Overloaded) with a `retry_after`, say, if the key server is down).
/// Whichever it is, the call was not processed. Keep the credential out of it.
///
/// What it accepts is kept for a while ([`VerifyConfig`](crate::VerifyConfig)); what it refuses never is. What a method
/// asks of its caller is not for it to say, as it is not asked each time: see [`Permit`].
///
/// ```
/// use std::future::{Ready, ready};
/// use towpath_auth::{Token, Verify};
/// use towpath_core::{Error, ErrorKind, Identity};
///
/// /// Takes a signed token, as a JWT is; the claims say until when it is good.
/// struct Signed;
///
/// impl<Req> Verify<Req> for Signed {
///     type Future = Ready<Result<Identity, Error>>;
///
///     fn verify(&self, token: &Token, _: &Req) -> Self::Future {
///         // Here the signature is checked, and the claims are read.
///         let (subject, life) = match token.secret() {
///             b"eyJhbGciOi.shop.signature" => ("shop", std::time::Duration::from_secs(300)),
///             _ => return ready(Err(Error::new(ErrorKind::Unauthenticated).because("the signature is wrong"))),
///         };
///         ready(Ok(Identity::new(subject).valid_for(life)))
///     }
/// }
/// # let token = "eyJhbGciOi.shop.signature".parse().unwrap();
/// # assert_eq!(Signed.verify(&token, &()).into_inner().unwrap().subject(), "shop");
/// ```
pub trait Verify<Req> {
    /// What is waited for. It is dropped if the call is given up first, or its deadline passes.
    type Future: Future<Output = Result<Identity, Error>>;

    /// Whose the credential is.
    fn verify(&self, token: &Token, request: &Req) -> Self::Future;

    /// Changes when what was accepted before may not be good any more: nothing that was kept counts then. It is
    /// asked with each call, so it should be no more than a load.
    fn epoch(&self) -> u64 {
        0
    }

    /// What of the request, beside the credential, the verdict depends on, as a hash: the certificate of the
    /// connection, say, to which a token is bound. What was accepted with one value does not count for another.
    fn binding(&self, _request: &Req) -> u64 {
        0
    }
}

impl<F, Req> Verify<Req> for F
where
    F: Fn(&Token, &Req) -> Result<Identity, Error>,
{
    type Future = Ready<Result<Identity, Error>>;

    fn verify(&self, token: &Token, request: &Req) -> Self::Future {
        ready(self(token, request))
    }
}

impl<V: Verify<Req> + ?Sized, Req> Verify<Req> for Arc<V> {
    type Future = V::Future;

    fn verify(&self, token: &Token, request: &Req) -> Self::Future {
        (**self).verify(token, request)
    }

    fn epoch(&self) -> u64 {
        (**self).epoch()
    }

    fn binding(&self, request: &Req) -> u64 {
        (**self).binding(request)
    }
}

/// Verifies by a closure from the token to a future: `VerifyAsync(|token: Token| async move { … })`.
#[derive(Clone, Copy)]
pub struct VerifyAsync<F>(pub F);

impl<F, Fut, Req> Verify<Req> for VerifyAsync<F>
where
    F: Fn(Token) -> Fut,
    Fut: Future<Output = Result<Identity, Error>>,
{
    type Future = Fut;

    fn verify(&self, token: &Token, _: &Req) -> Fut {
        (self.0)(token.clone())
    }
}

impl<F> fmt::Debug for VerifyAsync<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyAsync")
    }
}

/// Says whether somebody may call a method: asked with each call, after its caller is known.
///
/// `()` lets everybody call everything; a closure `Fn(&Identity, &str) -> bool` decides. What can be said by
/// scopes and patterns of methods needs none: see [`VerifyConfig`](crate::VerifyConfig).
pub trait Permit {
    /// Whether this caller may call this method (of an `http::Request`: this path).
    fn permits(&self, caller: &Identity, method: &str) -> bool;
}

impl Permit for () {
    #[inline]
    fn permits(&self, _: &Identity, _: &str) -> bool {
        true
    }
}

impl<F: Fn(&Identity, &str) -> bool> Permit for F {
    #[inline]
    fn permits(&self, caller: &Identity, method: &str) -> bool {
        self(caller, method)
    }
}

impl<P: Permit + ?Sized> Permit for Arc<P> {
    fn permits(&self, caller: &Identity, method: &str) -> bool {
        (**self).permits(caller, method)
    }
}

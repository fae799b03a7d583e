//! Where a client has its tokens from.

use crate::Token;
use std::{
    fmt,
    future::{Future, Ready},
    sync::Arc,
};
use tokio::time::Instant;
use towpath_core::{Error, Live};

/// Where [`AttachLayer`](crate::AttachLayer) has its tokens from.
///
/// A [`Token`] is one that never changes; a `Live<Token>` can be replaced; a closure `Fn() -> Result<Token, Error>` is
/// asked for each call, and has to be quick; a [`Renewing`](crate::Renewing) fetches them and renews them in time.
pub trait TokenSource {
    /// What is waited for where there is no token yet.
    type Future: Future<Output = Result<Token, Error>>;

    /// The token for a call that is made now.
    fn token(&self, now: Instant) -> Found<Self::Future>;
}

/// What a [`TokenSource`] has for a call.
pub enum Found<F> {
    /// A token, or the reason why there is none.
    Now(Result<Token, Error>),
    /// One that has to be waited for. It is dropped if the call is given up first.
    Later(F),
}

/// The future of a source that never has one wait.
pub type Never = Ready<Result<Token, Error>>;

impl<F> fmt::Debug for Found<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Found::Now(Ok(_)) => "Now(Token(…))",
            Found::Now(Err(_)) => "Now(Err)",
            Found::Later(_) => "Later",
        })
    }
}

impl TokenSource for Token {
    type Future = Never;

    fn token(&self, _: Instant) -> Found<Never> {
        Found::Now(Ok(self.clone()))
    }
}

impl TokenSource for Live<Token> {
    type Future = Never;

    fn token(&self, _: Instant) -> Found<Never> {
        Found::Now(Ok((*self.get()).clone()))
    }
}

impl<F: Fn() -> Result<Token, Error>> TokenSource for F {
    type Future = Never;

    fn token(&self, _: Instant) -> Found<Never> {
        Found::Now(self())
    }
}

impl<T: TokenSource + ?Sized> TokenSource for Arc<T> {
    type Future = T::Future;

    fn token(&self, now: Instant) -> Found<T::Future> {
        (**self).token(now)
    }
}

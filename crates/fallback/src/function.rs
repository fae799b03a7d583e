//! Answers that are there at once: a value, or what a function makes.

use crate::{Declined, Failure, Source, Substitute, Substituted};
use std::future::{Ready, ready};
use tokio::time::Instant;

/// Answers with clones of a value: [`FallbackLayer::value`](crate::FallbackLayer::value).
#[derive(Clone, Debug)]
pub struct Value<T>(pub(crate) T);

impl<Req, Res: Clone, Err> Substitute<Req, Res, Err> for Value<Res> {
    type Kept = ();
    type Future = Ready<Result<Substituted<Res>, Declined>>;

    fn source(&self) -> Source {
        Source::Value
    }

    #[inline]
    fn keep(&self, _: &Req, _: Option<Instant>) {}

    fn substitute(&self, (): (), _: Failure<'_, Res, Err>) -> Self::Future {
        ready(Ok(self.0.clone().into()))
    }
}

/// Answers with what a function makes of the failure:
/// [`FallbackLayer::function`](crate::FallbackLayer::function).
#[derive(Clone, Debug)]
pub struct Function<F>(pub(crate) F);

impl<Req, Res, Err, F, T> Substitute<Req, Res, Err> for Function<F>
where
    F: Fn(Failure<'_, Res, Err>) -> T,
    T: Into<Option<Res>>,
{
    type Kept = ();
    type Future = Ready<Result<Substituted<Res>, Declined>>;

    fn source(&self) -> Source {
        Source::Function
    }

    #[inline]
    fn keep(&self, _: &Req, _: Option<Instant>) {}

    fn substitute(&self, (): (), failure: Failure<'_, Res, Err>) -> Self::Future {
        answer((self.0)(failure))
    }
}

/// What a function needs to know of a request.
///
/// A closure `Fn(&Request) -> T` says which part; [`WholeRequest`] is a clone.
pub trait Keep<Req> {
    /// What is kept.
    type Kept;

    /// Keeps it.
    fn keep(&self, request: &Req) -> Self::Kept;
}

impl<Req, T, F: Fn(&Req) -> T> Keep<Req> for F {
    type Kept = T;

    #[inline]
    fn keep(&self, request: &Req) -> T {
        self(request)
    }
}

/// A clone of the request: for an MCP request a few reference counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct WholeRequest;

impl<Req: Clone> Keep<Req> for WholeRequest {
    type Kept = Req;

    #[inline]
    fn keep(&self, request: &Req) -> Req {
        request.clone()
    }
}

/// Answers with what a function makes of the request and the failure:
/// [`FallbackLayer::function_of`](crate::FallbackLayer::function_of).
#[derive(Clone, Debug)]
pub struct FunctionOf<K, F> {
    pub(crate) keep: K,
    pub(crate) function: F,
}

impl<Req, Res, Err, K, F, T> Substitute<Req, Res, Err> for FunctionOf<K, F>
where
    K: Keep<Req>,
    F: Fn(K::Kept, Failure<'_, Res, Err>) -> T,
    T: Into<Option<Res>>,
{
    type Kept = K::Kept;
    type Future = Ready<Result<Substituted<Res>, Declined>>;

    fn source(&self) -> Source {
        Source::Function
    }

    #[inline]
    fn keep(&self, request: &Req, _: Option<Instant>) -> K::Kept {
        self.keep.keep(request)
    }

    fn substitute(&self, kept: K::Kept, failure: Failure<'_, Res, Err>) -> Self::Future {
        answer((self.function)(kept, failure))
    }
}

fn answer<Res>(answer: impl Into<Option<Res>>) -> Ready<Result<Substituted<Res>, Declined>> {
    ready(answer.into().map(Substituted::from).ok_or(Declined::Nothing))
}

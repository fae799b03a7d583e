//! What is put into a stack.

use crate::{
    Another, Fallback, FallbackConfig, FallbackHandle, Function, FunctionOf, LastGood, LastGoodConfig,
    LastGoodHandle, Marked, Value, WhenFailed, plan::Plan,
};
use std::sync::Arc;
use tower_layer::Layer;
use towpath_core::{Cached, DefaultClassify, FromContext, Live, Shared};

/// Answers calls that have failed with something else. See the [crate](crate) for the ways to answer, for when it
/// does, and for where it stands.
///
/// All services that one layer makes, and their clones, share what it keeps.
#[derive(Debug)]
pub struct FallbackLayer<A, I = (), C = DefaultClassify, W = WhenFailed, M = Marked, O = ()> {
    substitute: Arc<A>,
    info: I,
    classify: C,
    when: W,
    mark: M,
    observe: O,
    handle: FallbackHandle,
}

impl<A> FallbackLayer<A> {
    /// Answers in a way of your own.
    pub fn new(substitute: A) -> Self {
        let handle = FallbackHandle { counts: Arc::default(), config: Live::default() };
        FallbackLayer {
            substitute: Arc::new(substitute),
            info: (),
            classify: DefaultClassify::new(),
            when: WhenFailed,
            mark: Marked,
            observe: (),
            handle,
        }
    }
}

impl<T> FallbackLayer<Value<T>> {
    /// Answers with clones of a value.
    pub fn value(value: T) -> Self {
        Self::new(Value(value))
    }
}

impl<F> FallbackLayer<Function<F>> {
    /// Answers with what a function makes of the failure: `Fn(Failure<'_, Response, Error>) -> Response`, or `->
    /// Option<Response>`, with `None` for what it has no answer to.
    pub fn function(function: F) -> Self {
        Self::new(Function(function))
    }
}

impl<K, F> FallbackLayer<FunctionOf<K, F>> {
    /// Answers with what a function makes of the request and the failure: `Fn(Kept, Failure<'_, Response, Error>) ->
    /// Response`, or `-> Option<Response>`. `keep` says what it needs of a request: `Fn(&Request) -> Kept`, or
    /// [`WholeRequest`](crate::WholeRequest). It is asked before each call: what it keeps should cost little.
    pub fn function_of(keep: K, function: F) -> Self {
        Self::new(FunctionOf { keep, function })
    }
}

impl<S> FallbackLayer<Another<S>> {
    /// Answers with what another service answers. Its requests are clones, and have the deadline that the call came
    /// with; see [`FallbackConfig`] for the time that it has. It brings its own limits: a timeout, say, for calls
    /// without a deadline.
    pub fn service(service: S) -> Self {
        Self::new(Another::new(service))
    }
}

impl<P, Res> FallbackLayer<LastGood<P, Res>> {
    /// Answers with the last good answer to the same call, if it is not too old. Good is what is a success and not
    /// degraded itself. `key` says which calls are the same: see [`KeyOf`](crate::KeyOf) and
    /// [`SameCall`](crate::SameCall).
    ///
    /// Over `http` with bodies that are streams, what is to be kept is said by [`detach_with`](Self::detach_with).
    pub fn last_good(config: impl Into<Live<LastGoodConfig>>, key: P) -> Self {
        Self::new(LastGood::new(key, config.into()))
    }
}

impl<P, Res, D> FallbackLayer<LastGood<P, Res, D>> {
    /// Keeps of an answer what `detach` makes of it: see [`Detach`](crate::Detach).
    pub fn detach_with<D2>(self, detach: D2) -> FallbackLayer<LastGood<P, Res, D2>>
    where
        P: Clone,
    {
        let Self { substitute, .. } = self;
        FallbackLayer::new(substitute.with_detach(detach))
    }

    /// The answers that are kept.
    pub fn last_good_handle(&self) -> LastGoodHandle<Res> {
        self.substitute.handle()
    }
}

impl<A, I, C, W, M, O> FallbackLayer<A, I, C, W, M, O> {
    /// Sees the deadline in the request's [context](towpath_core::HasContext), and the reading of the clock that
    /// others have left there. Without it the layer knows of no deadline, and keeps no reserve.
    pub fn honour_context(self) -> FallbackLayer<A, FromContext, C, W, M, O> {
        self.info(FromContext)
    }

    /// Learns of a call by a [`CallInfo`](towpath_core::CallInfo) of your own. It is cloned for each call.
    pub fn info<I2>(self, info: I2) -> FallbackLayer<A, I2, C, W, M, O> {
        let Self { substitute, classify, when, mark, observe, handle, .. } = self;
        FallbackLayer { substitute, info, classify, when, mark, observe, handle }
    }

    /// Asks another [`Classify`](towpath_core::Classify) what outcomes mean. Give all layers the same.
    pub fn classify<C2>(self, classify: C2) -> FallbackLayer<A, I, C2, W, M, O> {
        let Self { substitute, info, when, mark, observe, handle, .. } = self;
        FallbackLayer { substitute, info, classify, when, mark, observe, handle }
    }

    /// Says which failures are answered: a closure `Fn(&Class, Result<&Response, &Error>) -> bool`, or another
    /// [`When`](crate::When).
    pub fn when<W2>(self, when: W2) -> FallbackLayer<A, I, C, W2, M, O> {
        let Self { substitute, info, classify, mark, observe, handle, .. } = self;
        FallbackLayer { substitute, info, classify, when, mark, observe, handle }
    }

    /// Says how an answer is marked: a closure `Fn(&mut Response, Degraded)`, or another [`Mark`](crate::Mark).
    pub fn mark<M2>(self, mark: M2) -> FallbackLayer<A, I, C, W, M2, O> {
        let Self { substitute, info, classify, when, observe, handle, .. } = self;
        FallbackLayer { substitute, info, classify, when, mark, observe, handle }
    }

    /// Tells `observe` about each failure that was to be answered: [`FellBack`](crate::FellBack).
    pub fn observe<O2>(self, observe: O2) -> FallbackLayer<A, I, C, W, M, O2> {
        let Self { substitute, info, classify, when, mark, handle, .. } = self;
        FallbackLayer { substitute, info, classify, when, mark, observe, handle }
    }

    /// How much of the deadline is kept back, for a fallback that may take its time.
    #[must_use]
    pub fn config(mut self, config: impl Into<Live<FallbackConfig>>) -> Self {
        self.handle.config = config.into();
        self
    }

    /// Reads counts, and replaces the config.
    pub fn handle(&self) -> FallbackHandle {
        self.handle.clone()
    }
}

impl<S, A, I, C, W, M, O> Layer<S> for FallbackLayer<A, I, C, W, M, O>
where
    I: Clone,
    C: Clone,
    W: Clone,
    M: Clone,
    O: Clone,
{
    type Service = Fallback<S, A, I, C, W, M, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { substitute, info, classify, when, mark, observe, handle } = self.clone();
        let FallbackHandle { counts, config } = handle;
        let plan = Plan { substitute, classify, when, mark, observe, counts };
        let cached = Cached::new(&config);
        Fallback { inner, unready: false, info, plan: Shared::new(plan), config, cached }
    }
}

impl<A, I: Clone, C: Clone, W: Clone, M: Clone, O: Clone> Clone for FallbackLayer<A, I, C, W, M, O> {
    fn clone(&self) -> Self {
        FallbackLayer {
            substitute: self.substitute.clone(),
            info: self.info.clone(),
            classify: self.classify.clone(),
            when: self.when.clone(),
            mark: self.mark.clone(),
            observe: self.observe.clone(),
            handle: self.handle.clone(),
        }
    }
}

//! What is put into a stack.

use crate::{
    ByClone, Retry, RetryConfig, RetryHandle,
    handle::Core,
    hooks::Hooks,
    service::{Cache, State},
};
use std::fmt;
use tower_layer::Layer;
use towpath_core::{Budget, DefaultClassify, FromContext, Live, Shared};

/// Makes further attempts of calls that fail or are slow. Around any service that is `Clone`.
///
/// Made with [`new`](Self::new), it asks of a request that it is `Clone`, and takes no call for idempotent;
/// [`honour_context`](Self::honour_context) is for requests that [have a context](towpath_core::HasContext), and
/// the one to use over towpath's own. All services that it makes share one budget and one config. See the
/// [crate](crate) for where it stands in a stack, and [`Retry`] for what the service promises.
pub struct RetryLayer<P = (), C = DefaultClassify, I = (), K = ByClone, R = (), O = ()> {
    core: Shared<Core>,
    hooks: Hooks<P, C, I, K, R, O>,
}

impl RetryLayer {
    /// With a config, or one that [can be replaced](Live).
    pub fn new(config: impl Into<Live<RetryConfig>>) -> Self {
        RetryLayer {
            core: Shared::new(Core::new(config.into(), None)),
            hooks: Hooks {
                policy: (),
                classify: DefaultClassify::new(),
                info: (),
                copy: ByClone,
                reject: (),
                observe: (),
                idempotent: false,
                kept_below: false,
            },
        }
    }
}

impl<P, C, I, K, R, O> RetryLayer<P, C, I, K, R, O> {
    fn with<P2, C2, I2, K2, R2, O2>(
        self,
        change: impl FnOnce(Hooks<P, C, I, K, R, O>) -> Hooks<P2, C2, I2, K2, R2, O2>,
    ) -> RetryLayer<P2, C2, I2, K2, R2, O2> {
        RetryLayer { core: self.core, hooks: change(self.hooks) }
    }

    /// Reads the deadline, the attempt and whether the call is idempotent from the request's context, and writes
    /// there what holds for each attempt: its deadline, its number, the endpoints that were tried. Over towpath's
    /// own requests and over `http`'s (which are idempotent by their method, too).
    pub fn honour_context(self) -> RetryLayer<P, C, FromContext, K, R, O> {
        self.describe_by(FromContext)
    }

    /// Learns what there is to know of a call in another way: see [`Repeat`](crate::Repeat).
    pub fn describe_by<I2>(self, info: I2) -> RetryLayer<P, C, I2, K, R, O> {
        self.with(|Hooks { policy, classify, info: _, copy, reject, observe, idempotent, kept_below }| {
            Hooks { policy, classify, info, copy, reject, observe, idempotent, kept_below }
        })
    }

    /// Decides by another [`Policy`](crate::Policy) whether there is a further attempt: a closure `Fn(&Failed<'_,
    /// Res, Err>) -> Decision` will do.
    pub fn policy<P2>(self, policy: P2) -> RetryLayer<P2, C, I, K, R, O> {
        self.with(|Hooks { policy: _, classify, info, copy, reject, observe, idempotent, kept_below }| {
            Hooks { policy, classify, info, copy, reject, observe, idempotent, kept_below }
        })
    }

    /// Judges outcomes by another [`Classify`](towpath_core::Classify). Give the same one to all layers.
    pub fn classify<C2>(self, classify: C2) -> RetryLayer<P, C2, I, K, R, O> {
        self.with(|Hooks { policy, classify: _, info, copy, reject, observe, idempotent, kept_below }| {
            Hooks { policy, classify, info, copy, reject, observe, idempotent, kept_below }
        })
    }

    /// Copies requests in another way than by `Clone`: see [`CopyRequest`](crate::CopyRequest).
    pub fn copy_by<K2>(self, copy: K2) -> RetryLayer<P, C, I, K2, R, O> {
        self.with(|Hooks { policy, classify, info, copy: _, reject, observe, idempotent, kept_below }| {
            Hooks { policy, classify, info, copy, reject, observe, idempotent, kept_below }
        })
    }

    /// Answers in place of failing when a call's time is up: see [`OnReject`](towpath_core::OnReject).
    pub fn on_reject<R2>(self, reject: R2) -> RetryLayer<P, C, I, K, R2, O> {
        self.with(|Hooks { policy, classify, info, copy, reject: _, observe, idempotent, kept_below }| {
            Hooks { policy, classify, info, copy, reject, observe, idempotent, kept_below }
        })
    }

    /// Tells `observe` about each [`RetryEvent`](crate::RetryEvent).
    pub fn observe<O2>(self, observe: O2) -> RetryLayer<P, C, I, K, R, O2> {
        self.with(|Hooks { policy, classify, info, copy, reject, observe: _, idempotent, kept_below }| {
            Hooks { policy, classify, info, copy, reject, observe, idempotent, kept_below }
        })
    }

    /// Every call may be made twice without harm, whatever it says of itself: for services that only read.
    #[must_use]
    pub fn assume_idempotent(mut self) -> Self {
        self.hooks.idempotent = true;
        self
    }

    /// The service below keeps the deadline in the context, as towpath's transport and layers do: a first attempt
    /// needs no timer here to be ended in time (which costs an allocation and some 150 ns for a call that is not
    /// answered at once). Not for foreign services: around them an attempt that hangs would hang for ever. Of use
    /// only together with [`honour_context`](Self::honour_context).
    #[must_use]
    pub fn inner_keeps_deadlines(mut self) -> Self {
        self.hooks.kept_below = true;
        self
    }

    /// Takes further attempts out of a budget that is shared with other layers, and pays into it. Its size is its
    /// own, and not the config's.
    #[must_use]
    pub fn share_budget(mut self, budget: Budget) -> Self {
        self.core = Shared::new(Core::new(self.core.config.clone(), Some(budget)));
        self
    }

    /// A handle to what all services of this layer share. (Take it after [`share_budget`](Self::share_budget).)
    pub fn handle(&self) -> RetryHandle {
        RetryHandle { core: self.core.clone() }
    }
}

impl<S, P, C, I, K, R, O> Layer<S> for RetryLayer<P, C, I, K, R, O>
where
    S: Clone,
    Hooks<P, C, I, K, R, O>: Clone,
{
    type Service = Retry<S, Hooks<P, C, I, K, R, O>>;

    fn layer(&self, inner: S) -> Self::Service {
        let state = State::new(self.core.clone(), inner.clone(), self.hooks.clone());
        Retry { inner, cache: Cache::new(&self.core), shared: Shared::new(state) }
    }
}

impl<P, C, I, K, R, O> Clone for RetryLayer<P, C, I, K, R, O>
where
    Hooks<P, C, I, K, R, O>: Clone,
{
    fn clone(&self) -> Self {
        RetryLayer { core: self.core.clone(), hooks: self.hooks.clone() }
    }
}

impl<P, C, I, K, R, O> fmt::Debug for RetryLayer<P, C, I, K, R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer").field("hooks", &self.hooks).field("handle", &self.handle()).finish()
    }
}

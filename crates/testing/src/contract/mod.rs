//! The contract that every layer keeps, as a kit that takes any layer.
//!
//! The kit puts the layer around an inner service of its own, which waits, answers and panics as it is
//! told and keeps count of what it handed out; it polls the callers by hand, so that it sees each
//! wake-up; the clock is paused. What it checks is said at [`Rule`], and why in `docs/contract.md`.
//!
//! It sees a layer from outside only. Two things follow: a layer that answers without its inner service (a
//! cache, a single flight) is to be given requests that differ, by the closure of
//! [`Contract::with_types`]; and a rule that a layer breaks on purpose is to be named with its reason, in
//! [`Contract::without`].

mod probe;
mod rule;
mod rules;
mod subject;

pub use probe::{Probe, ProbeFuture};
pub use rule::{Report, Rule, Violation};

use bytes::Bytes;
use probe::{Control, Plan};
use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};
use subject::{Bench, Subject};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;
use towpath_core::{BoxError, Request, Response};

type MakeRequest<Req> = Box<dyn Fn() -> Req>;
type SetDeadline<Req> = Box<dyn Fn(&mut Req, Instant)>;

/// The contract, for one layer.
///
/// ```
/// use std::time::Duration;
/// use towpath_testing::{Contract, contract::Rule};
/// use tower::{limit::RateLimitLayer, timeout::TimeoutLayer};
/// use tower_layer::Identity;
///
/// Contract::new(Identity::new).verify();
///
/// // Requests and responses may be anything.
/// Contract::<_, &str, u32>::with_types(Identity::new, || "name", || 7).verify();
///
/// // A layer that ends calls by itself.
/// let second = Duration::from_secs(1);
/// Contract::new(move || TimeoutLayer::new(second)).gives_up_after(second).verify();
/// ```
pub struct Contract<M, Req = Request, Res = Response, E = BoxError> {
    make_layer: M,
    request: MakeRequest<Req>,
    set_deadline: SetDeadline<Req>,
    response: Arc<dyn Fn() -> Res + Send + Sync>,
    gives_up_after: Option<Duration>,
    limits_to: Option<usize>,
    recovery: Duration,
    seed: u64,
    without: Vec<Rule>,
    _error: PhantomData<fn() -> E>,
}

impl<M> Contract<M> {
    /// The contract for the layers that `make_layer` makes (a new one for each rule), over towpath's own
    /// requests and responses.
    pub fn new(make_layer: M) -> Self {
        let request = || Request::new("Contract.Check", Bytes::new());
        let contract = Contract::with_types(make_layer, request, || Response::new(Bytes::new()));
        contract.deadline_by(|request: &mut Request, at| request.context_mut().set_deadline(Some(at)))
    }
}

impl<M, Req, Res, E> Contract<M, Req, Res, E> {
    /// The contract over requests, responses and an inner error of any type.
    pub fn with_types(
        make_layer: M,
        request: impl Fn() -> Req + 'static,
        response: impl Fn() -> Res + Send + Sync + 'static,
    ) -> Self {
        Contract {
            make_layer,
            request: Box::new(request),
            set_deadline: Box::new(|_, _| ()),
            response: Arc::new(response),
            gives_up_after: None,
            limits_to: None,
            recovery: Duration::ZERO,
            seed: 0x70_77_61_79,
            without: Vec::new(),
            _error: PhantomData,
        }
    }

    /// Says how a request is given a deadline, for [`gives_up_after`](Self::gives_up_after). A request that
    /// has none is for layers with a limit of their own.
    #[must_use]
    pub fn deadline_by(mut self, set: impl Fn(&mut Req, Instant) + 'static) -> Self {
        self.set_deadline = Box::new(set);
        self
    }

    /// Checks [`Rule::DeadlineKept`]: over an inner service that hangs, a call made now with a deadline
    /// `time` from now is over by then (and 2 ms: timers count whole ones).
    #[must_use]
    pub fn gives_up_after(mut self, time: Duration) -> Self {
        self.gives_up_after = Some(time);
        self
    }

    /// Checks [`Rule::LimitIsShared`]: of many calls on many clones, `calls` are at the inner service at a
    /// time, not more and not fewer.
    #[must_use]
    pub fn limits_to(mut self, calls: usize) -> Self {
        self.limits_to = Some(calls);
        self
    }

    /// How long after heavy use a layer is as new again: 0 by default. For layers that count over time, as
    /// a rate limit does.
    #[must_use]
    pub fn recovers_within(mut self, time: Duration) -> Self {
        self.recovery = time;
        self
    }

    /// The seed of the random sequences. A fixed one by default, so that a failure comes again.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Leaves a rule out; the reason is for the reader of the test.
    #[must_use]
    pub fn without(mut self, rule: Rule, _reason: &str) -> Self {
        self.without.push(rule);
        self
    }
}

impl<M, L, Req, Res, E> Contract<M, Req, Res, E>
where
    M: Fn() -> L,
    L: Layer<Probe<Req, Res, E>>,
    L::Service: Service<Req, Error: Into<BoxError>> + Clone,
{
    /// Checks every rule, and says which are broken.
    ///
    /// # Errors
    /// What was seen of each broken rule.
    ///
    /// # Panics
    /// If called within a runtime: the kit brings its own.
    pub fn check(&self) -> Result<(), Report> {
        let rules = Rule::ALL.into_iter().filter(|rule| !self.without.contains(rule));
        let broken: Vec<_> = rules.filter_map(|rule| rules::check(self, rule).err()).collect();
        // A rule's check may come upon a breach of another one.
        let broken: Vec<_> = broken.into_iter().filter(|v| !self.without.contains(&v.rule())).collect();
        if broken.is_empty() { Ok(()) } else { Err(Report(broken)) }
    }

    /// Checks every rule.
    ///
    /// # Panics
    /// If one is broken, with the rule's name and what was seen; or if called within a runtime.
    #[allow(clippy::panic)]
    pub fn verify(&self) {
        if let Err(report) = self.check() {
            panic!("{report}");
        }
    }
}

impl<M, L, Req, Res, E> Subject for Contract<M, Req, Res, E>
where
    M: Fn() -> L,
    L: Layer<Probe<Req, Res, E>>,
    L::Service: Service<Req, Error: Into<BoxError>> + Clone,
{
    type Request = Req;
    type Service = L::Service;

    fn bench(&self, plan: Plan) -> Bench<L::Service> {
        let probe = Control::new(plan);
        let inner = Probe::new(probe.clone(), self.response.clone());
        Bench { root: (self.make_layer)().layer(inner), probe }
    }

    fn request(&self) -> Req {
        (self.request)()
    }

    fn request_by(&self, deadline: Instant) -> Req {
        let mut request = (self.request)();
        (self.set_deadline)(&mut request, deadline);
        request
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn recovery(&self) -> Duration {
        self.recovery
    }

    fn gives_up_after(&self) -> Option<Duration> {
        self.gives_up_after
    }

    fn limits_to(&self) -> Option<usize> {
        self.limits_to
    }
}

impl<M, Req, Res, E> fmt::Debug for Contract<M, Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contract")
            .field("gives_up_after", &self.gives_up_after)
            .field("limits_to", &self.limits_to)
            .field("recovery", &self.recovery)
            .field("seed", &self.seed)
            .field("without", &self.without)
            .finish_non_exhaustive()
    }
}

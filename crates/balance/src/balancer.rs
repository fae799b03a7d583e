//! What balancers are made by.

use crate::{
    Balance, BalanceConfig, BalanceEvent, PowerOfTwo,
    common::{Common, Start},
    drive::{Driver, enlist},
    fleet::{Enlisted, Explain, Fleet, News, Observer},
    look::Look,
    pick::{Pick, Renew},
};
use std::{fmt, sync::Arc};
use tower_service::Service;
use towpath_core::{DefaultClassify, Discover, Endpoint, FromContext, Live, NewService, Observe};

/// Makes balancers: how calls are shared out is set up here, and over what, at the end.
///
/// See the [crate](crate) for where a balancer stands in a stack, and [`Balance`] for what the service promises.
#[derive(Clone)]
pub struct Balancer<P = PowerOfTwo, C = DefaultClassify, I = (), R = ()> {
    config: Live<BalanceConfig>,
    picker: P,
    classify: C,
    info: I,
    reject: R,
    observe: Option<Arc<Observer>>,
    explain: Option<Arc<Explain>>,
}

impl Balancer {
    /// The better one of two, by latency, calls under way and failures. The config can be a [`Live`] one that is
    /// replaced while balancers run.
    pub fn new(config: impl Into<Live<BalanceConfig>>) -> Self {
        Balancer {
            config: config.into(),
            picker: PowerOfTwo::new(),
            classify: DefaultClassify::new(),
            info: (),
            reject: (),
            observe: None,
            explain: None,
        }
    }
}

impl<P, C, I, R> Balancer<P, C, I, R> {
    /// Picks in another way: a [`Pick`], or a closure.
    pub fn pick_by<P2>(self, picker: P2) -> Balancer<P2, C, I, R> {
        let Self { config, classify, info, reject, observe, explain, .. } = self;
        Balancer { config, picker, classify, info, reject, observe, explain }
    }

    /// Judges outcomes in another way: a [`Classify`](towpath_core::Classify), or a closure.
    pub fn classify<C2>(self, classify: C2) -> Balancer<P, C2, I, R> {
        let Self { config, picker, info, reject, observe, explain, .. } = self;
        Balancer { config, picker, classify, info, reject, observe, explain }
    }

    /// Reads the context of each request: deadline, endpoints that were tried, affinity key, the reading of the clock. The
    /// request must be one that [has a context](towpath_core::HasContext).
    pub fn honour_context(self) -> Balancer<P, C, FromContext, R> {
        self.info(FromContext)
    }

    /// Reads what there is to know of a call in another way: see [`CallInfo`](towpath_core::CallInfo).
    pub fn info<I2>(self, info: I2) -> Balancer<P, C, I2, R> {
        let Self { config, picker, classify, reject, observe, explain, .. } = self;
        Balancer { config, picker, classify, info, reject, observe, explain }
    }

    /// Answers in place of failing: see [`OnReject`](towpath_core::OnReject).
    pub fn on_reject<R2>(self, reject: R2) -> Balancer<P, C, I, R2> {
        let Self { config, picker, classify, info, observe, explain, .. } = self;
        Balancer { config, picker, classify, info, reject, observe, explain }
    }

    /// Tells `observe` about each [`BalanceEvent`].
    pub fn observe(mut self, observe: impl Observe<BalanceEvent> + Send + Sync + 'static) -> Self {
        self.observe = Some(Arc::new(observe));
        self
    }

    /// Why no endpoint is known, in the words of who looks for them; `None` if there is nothing to say. It is asked when a
    /// call fails for that reason, and becomes part of its error.
    pub fn explain(mut self, explain: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        self.explain = Some(Arc::new(explain));
        self
    }

    /// A balancer over the endpoints that `discover` finds; `make` makes the stack of each. Both are used by a task, which
    /// is started by the first call, or by [`Balance::start`], and ends with the last clone of the balancer and its last
    /// call.
    pub fn over<D, N, S, Req>(self, discover: D, make: N) -> Balance<S, Req, P, C, I, R>
    where
        D: Discover + Send + 'static,
        N: NewService<Endpoint, Service = S> + Send + 'static,
        S: Service<Req> + Clone + Send + 'static,
        P: Pick,
    {
        self.build(true, |fleet, look| {
            let driver = Driver::new(discover, make, fleet.clone(), look);
            Start::new(Some(Box::new(move |runtime| drop(runtime.spawn(driver.run())))))
        })
    }

    /// A balancer over these endpoints and no others; `make` makes the stack of each, here and now. It has no task: what is
    /// to be done is done by calls.
    pub fn fixed<N, S, Req>(
        self,
        endpoints: impl IntoIterator<Item = Endpoint>,
        make: N,
    ) -> Balance<S, Req, P, C, I, R>
    where
        N: NewService<Endpoint, Service = S>,
        S: Service<Req> + Clone + Send + 'static,
        P: Pick,
    {
        self.build(false, |fleet, _| {
            let news = endpoints.into_iter().map(|endpoint| match enlist(fleet, &make, endpoint) {
                Ok(Enlisted { news, .. }) | Err(news) => news,
            });
            fleet.tell(news.chain([News::Settled]).collect::<Vec<_>>());
            fleet.tend();
            Start::new(None)
        })
    }

    fn build<S, Req>(
        self,
        driven: bool,
        start: impl FnOnce(&Arc<Fleet<S, P>>, Look<S>) -> Start,
    ) -> Balance<S, Req, P, C, I, R>
    where
        S: Service<Req> + Send + 'static,
        P: Pick,
    {
        let Self { config, picker, classify, info, reject, observe, explain } = self;
        let fleet = Arc::new(Fleet::new(config, picker, (observe, explain), driven));
        let weak = Arc::downgrade(&fleet);
        // What is computed from the config is computed anew.
        let renew: Renew = Arc::new(move || weak.upgrade().map(|fleet| fleet.tell([News::Renew])).is_some());
        fleet.picker.listen(&renew);
        fleet.config.listen(move || renew());
        let look: Look<S> = |stack, cx| stack.poll_ready(cx).map(|ready| ready.is_ok());
        let start = start(&fleet, look);
        Balance::new(Common { fleet, classify, info, reject, look, start })
    }
}

impl<P: fmt::Debug, C, I, R> fmt::Debug for Balancer<P, C, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer")
            .field("config", &self.config)
            .field("picker", &self.picker)
            .finish_non_exhaustive()
    }
}

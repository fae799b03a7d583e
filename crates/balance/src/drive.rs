//! The one task of a balancer: takes in what discovery says, makes the stacks, waits for them to become ready, and does
//! what is due while no calls come.

use crate::{
    BalanceEvent,
    fleet::{Enlisted, Fleet, News, Spare},
    gauge::Key,
    look::{self, Look},
    pick::Pick,
};
use std::{
    collections::{HashMap, hash_map::Entry},
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::{
    task::{AbortHandle, JoinSet, spawn_blocking},
    time::{Instant, sleep, sleep_until},
};
use towpath_core::{Backoff, Change, Clock, Discover, Endpoint, EndpointId, NewService};

/// Changes that come within this time of others are taken in together.
const GATHER: Duration = Duration::from_millis(10);
/// So many are taken in at a time.
const MOST: usize = 4096;

pub(crate) struct Driver<D, N, S, P: Pick> {
    /// `None`: it has ended.
    discover: Option<Pin<Box<D>>>,
    make: N,
    fleet: Arc<Fleet<S, P>>,
    look: Look<S>,
    known: HashMap<EndpointId, Known<S>>,
    /// Those who wait for the stacks to become ready. They end with the driver.
    waiting: JoinSet<()>,
}

/// An endpoint of the fleet.
struct Known<S> {
    endpoint: Endpoint,
    key: Key,
    stack: Arc<Spare<S>>,
    /// Who waits for the stack to become ready; `None`: calls do not go there as a rule.
    waits: Option<AbortHandle>,
}

/// Why the driver goes on.
enum Woken {
    /// Somebody has rung.
    Rung,
    /// Discovery has said something.
    Told(Option<Change>),
}

impl<D, N, S, P> Driver<D, N, S, P>
where
    D: Discover,
    N: NewService<Endpoint, Service = S>,
    S: Clone + Send + 'static,
    P: Pick,
{
    pub(crate) fn new(discover: D, make: N, fleet: Arc<Fleet<S, P>>, look: Look<S>) -> Self {
        let discover = Some(Box::pin(discover));
        Driver { discover, make, fleet, look, known: HashMap::new(), waiting: JoinSet::new() }
    }

    /// Until the last service is gone.
    pub(crate) async fn run(mut self) {
        let mut gathered = Clock::now();
        loop {
            let fleet = self.fleet.clone();
            let rung = fleet.bell.driver().notified();
            if fleet.bell.is_closed() {
                return;
            }
            fleet.tend_if_rung();
            if fleet.is_unseen() {
                let fleet = fleet.clone();
                // If it panics, picks see what they saw before.
                let _ = spawn_blocking(move || fleet.show()).await;
            }
            if fleet.wants_others() {
                self.ready_wanted();
            }
            match self.next(rung, gathered).await {
                Woken::Rung => {}
                Woken::Told(None) => self.discover = None,
                Woken::Told(Some(change)) => {
                    self.take_in(change);
                    gathered = Clock::now() + GATHER;
                }
            }
        }
    }

    /// Has the stacks readied that calls go to as a rule.
    fn ready_wanted(&mut self) {
        let Driver { known, fleet, waiting, look, .. } = self;
        for (id, known) in known {
            known.want(fleet.is_wanted(*id), fleet, waiting, *look);
        }
    }

    async fn next(&mut self, rung: impl Future<Output = ()>, not_before: Instant) -> Woken {
        let (mut rung, mut rest) = (pin!(rung), pin!(sleep_until(not_before)));
        let mut rests = not_before > Clock::now();
        poll_fn(|cx| {
            while let Poll::Ready(Some(_)) = self.waiting.poll_join_next(cx) {}
            if !rests || rest.as_mut().poll(cx).is_ready() {
                rests = false;
                if let Some(discover) = &mut self.discover
                    && let Poll::Ready(told) = discover.as_mut().poll_change(cx)
                {
                    return Poll::Ready(Woken::Told(told));
                }
            }
            rung.as_mut().poll(cx).map(|()| Woken::Rung)
        })
        .await
    }

    /// A change, and all that are there with it.
    fn take_in(&mut self, first: Change) {
        let mut changes = vec![first];
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        while changes.len() < MOST
            && let Some(discover) = &mut self.discover
            && let Poll::Ready(next) = discover.as_mut().poll_change(&mut cx)
        {
            match next {
                Some(change) => changes.push(change),
                None => self.discover = None,
            }
        }
        let news: Vec<_> = changes.into_iter().filter_map(|change| self.make_of(change)).collect();
        self.fleet.tell(news);
    }

    fn make_of(&mut self, change: Change) -> Option<News<S>> {
        let endpoint = match change {
            Change::Insert(endpoint) => endpoint,
            Change::Remove(id) => {
                if let Some(waits) = self.known.remove(&id)?.waits {
                    waits.abort();
                }
                return Some(News::Left(id));
            }
            Change::Settled => return Some(News::Settled),
        };
        let Entry::Vacant(unknown) = self.known.entry(endpoint.id()) else {
            return Some(News::Described(endpoint));
        };
        match enlist(&self.fleet, &self.make, endpoint) {
            Ok(Enlisted { endpoint, key, stack, news }) => {
                let known = unknown.insert(Known { endpoint, key, stack, waits: None });
                let wanted = self.fleet.is_wanted(known.endpoint.id());
                known.want(wanted, &self.fleet, &mut self.waiting, self.look);
                Some(news)
            }
            Err(news) => Some(news),
        }
    }
}

impl<S: Clone + Send + 'static> Known<S> {
    /// Has its stack readied, or lets it be.
    fn want<P: Pick>(
        &mut self,
        wanted: bool,
        fleet: &Arc<Fleet<S, P>>,
        waiting: &mut JoinSet<()>,
        look: Look<S>,
    ) {
        self.endpoint.state().set_spare(!wanted);
        match (&self.waits, wanted) {
            (None, true) => {
                let waits = until_ready(fleet.clone(), self.key, self.stack.clone(), look);
                self.waits = Some(waiting.spawn(waits));
            }
            (Some(waits), false) => {
                waits.abort();
                self.waits = None;
            }
            _ => {}
        }
    }
}

/// Makes the stack of an endpoint, and the news of both. One whose stack cannot be made is none; the others are not
/// concerned.
pub(crate) fn enlist<N, S, P>(
    fleet: &Fleet<S, P>,
    make: &N,
    endpoint: Endpoint,
) -> Result<Enlisted<S>, News<S>>
where
    N: NewService<Endpoint, Service = S>,
    P: Pick,
{
    let stack = catch_unwind(AssertUnwindSafe(|| make.new_service(endpoint.clone())));
    let enlisted = stack.ok().and_then(|stack| fleet.enlist(endpoint.clone(), stack));
    enlisted.ok_or(News::Event(BalanceEvent::NoStack(endpoint)))
}

/// Waits until a stack is ready for the first time: from then on it is known whether it says so by itself.
async fn until_ready<S, P>(fleet: Arc<Fleet<S, P>>, key: Key, spare: Arc<Spare<S>>, look: Look<S>)
where
    S: Clone,
    P: Pick,
{
    let mut times = 0;
    loop {
        let mut stack = spare.fresh();
        if poll_fn(|cx| look::caught(look, &mut stack, cx)).await {
            return fleet.tell([News::Answers(key)]);
        }
        drop(stack);
        let wait = Backoff::default().delay(times, &mut fastrand::Rng::new());
        times = times.saturating_add(1);
        sleep(wait).await;
    }
}

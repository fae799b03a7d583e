//! The replicas of a service as one service: which of them an attempt goes to.
//!
//! A balancer for three replicas and no more: they take turns. An attempt goes where its call has not been yet, if it
//! can; not where there is no connection; and not where the replica's breaker is open, as long as no more than
//! half of those that are connected are out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};
use tokio::time::Instant;
use tower_service::Service;
use towpath::{
    BoxError, Client, ClientState, Endpoint, EndpointId, EndpointStatus, Request, Response, context,
};

/// One replica as its callers have it: what is known of it, the connection to it, and the breaker around that.
#[derive(Clone)]
pub(crate) struct Backend<S> {
    endpoint: Endpoint,
    client: Client,
    breaker: S,
}

/// All replicas of a service. Its clones take turns together.
#[derive(Clone)]
pub(crate) struct Replicas<S> {
    replicas: Vec<Backend<S>>,
    turn: Arc<AtomicUsize>,
    /// What was sent, by all services of the shop.
    attempts: Arc<AtomicU64>,
}

impl<S> Backend<S> {
    pub(crate) fn new(endpoint: Endpoint, client: Client, breaker: S) -> Self {
        Backend { endpoint, client, breaker }
    }

    /// The connection.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Whether there is a connection. Who has the endpoint sees it then, too.
    fn is_connected(&self) -> bool {
        let connected = matches!(self.client.state(), ClientState::Connected);
        match connected {
            true => self.endpoint.state().set_ready(),
            false => self.endpoint.state().set_connecting(None),
        }
        connected
    }
}

impl<S: Service<Request>> Backend<S> {
    /// Whether it is to have a call. One that is ejected may be asked again when its time is up.
    fn takes_calls(&mut self) -> bool {
        let may = match self.endpoint.state().status() {
            EndpointStatus::Ready => true,
            EndpointStatus::Ejected { until } => until.is_some_and(|until| until <= Instant::now()),
            _ => false,
        };
        may && self.is_open()
    }

    /// Whether its breaker lets a call through. Nobody waits for that: there are others.
    fn is_open(&mut self) -> bool {
        self.breaker.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}

impl<S: Service<Request>> Replicas<S> {
    pub(crate) fn new(replicas: Vec<Backend<S>>, attempts: Arc<AtomicU64>) -> Self {
        Replicas { replicas, turn: Arc::default(), attempts }
    }

    /// Says to which breakers' wish to be out it gives in: to those of half of the connected replicas at most. The
    /// others have to let calls through, open or not: a slow answer is better than none.
    fn eject(&self) {
        let connected = self.replicas.iter().filter(|replica| replica.is_connected()).count();
        let mut out = 0;
        for state in self.replicas.iter().map(|replica| replica.endpoint.state()) {
            let asks = state.asks_ejection();
            let granted = asks && out < connected / 2;
            out += usize::from(granted);
            if asks {
                state.grant_ejection(granted);
            }
            state.set_panic(asks && !granted);
        }
    }

    /// Whose turn it is, of those that can take a call, and readies it.
    fn pick(&mut self, tried: &[EndpointId]) -> usize {
        self.eject();
        let (turn, all) = (self.turn.fetch_add(1, Relaxed), self.replicas.len());
        let turns = || (turn..turn + all).map(|turn| turn % all);
        for again in [false, true] {
            for at in turns() {
                let replica = &mut self.replicas[at];
                if tried.contains(&replica.endpoint.id()) == again && replica.takes_calls() {
                    return at;
                }
            }
        }
        // All are without a connection: the call waits for one, as long as it may.
        turns().find(|at| self.replicas[*at].is_open()).unwrap_or(turn % all)
    }
}

impl<S> Service<Request> for Replicas<S>
where
    S: Service<Request, Response = Response, Error = BoxError>,
{
    type Response = Response;
    type Error = BoxError;
    type Future = S::Future;

    /// Always ready: which replica it will be depends on the call.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> S::Future {
        let at = self.pick(request.context().tried());
        let replica = &mut self.replicas[at];
        context::pick(replica.endpoint.id());
        self.attempts.fetch_add(1, Relaxed);
        replica.breaker.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{Ready, ready};
    use towpath::Router;

    /// Answers with its number.
    #[derive(Clone)]
    struct Numbered(usize);

    impl Service<Request> for Numbered {
        type Response = Response;
        type Error = BoxError;
        type Future = Ready<Result<Response, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request) -> Self::Future {
            ready(Ok(Response::new(vec![self.0 as u8].into())))
        }
    }

    fn replicas(count: usize) -> Replicas<Numbered> {
        let replica = |number| {
            // A client over a service is always connected.
            let client = Client::builder().over(Router::new());
            Backend::new(Endpoint::new(format!("number {number}")), client, Numbered(number))
        };
        Replicas::new((0..count).map(replica).collect(), Arc::default())
    }

    fn picks<const N: usize>(replicas: &mut Replicas<Numbered>, tried: &[EndpointId]) -> [usize; N] {
        std::array::from_fn(|_| replicas.pick(tried))
    }

    #[tokio::test]
    async fn they_take_turns_and_another_one_comes_before_the_same_again() {
        let mut replicas = replicas(3);
        let ids: Vec<EndpointId> = replicas.replicas.iter().map(|replica| replica.endpoint.id()).collect();
        assert_eq!(picks(&mut replicas, &[]), [0, 1, 2, 0]);
        assert_eq!(picks(&mut replicas.clone(), &ids[1..2]), [2, 2, 0, 2]);
        assert_eq!(picks(&mut replicas, &ids), [2, 0, 1], "better the same again than none");
        let answer = replicas.call(Request::new("A.B", Default::default())).await.unwrap();
        assert_eq!((&answer.body()[..], replicas.attempts.load(Relaxed)), (&[2][..], 1));
    }

    #[tokio::test]
    async fn at_most_half_are_out() {
        let mut replicas = replicas(3);
        let soon = Some(Instant::now() + std::time::Duration::from_secs(60));
        replicas.replicas[1].endpoint.state().ask_ejection(soon);
        assert_eq!(picks(&mut replicas, &[]), [0, 2, 2, 0]);
        replicas.replicas[2].endpoint.state().ask_ejection(soon);
        assert_eq!(picks(&mut replicas, &[]), [2, 2, 0], "one of two");
        let states: Vec<bool> = replicas.replicas.iter().map(|r| r.endpoint.state().is_ready()).collect();
        assert_eq!(states, [true, false, true]);
        assert!(replicas.replicas[2].endpoint.state().in_panic(), "its breaker has to let calls through");
        replicas.replicas[1].endpoint.state().end_ejection();
        assert_eq!(picks(&mut replicas, &[]), [1, 0, 0], "now it is the other one");
    }
}

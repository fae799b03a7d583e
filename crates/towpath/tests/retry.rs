//! Attempts over real sockets: what stops a chain of them goes both ways, losers are cancelled, each attempt says
//! which one it is.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Serving, serve, soon, until};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use towpath::{
    Backoff, BudgetConfig, CallError, Client, Context, Error, ErrorKind, Fault, Jitter, Json, Processed,
    Request, Response, Router, Server, State, fault_codes,
    retry::{Attempts, HedgeAfter, HedgeConfig, RetryConfig, RetryHandle, RetryLayer},
};

fault_codes! {
    /// What the services of the chain fails with.
    enum ChainFault {
        /// The one below failed.
        Below = "CHN-E-001", "the service below failed";
        /// Too busy just now; nothing was done.
        Busy = "CHN-W-002", "busy", transient;
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn config() -> RetryConfig {
    RetryConfig::default().with_backoff(Backoff::try_new(ms(1), ms(2), 2.0, Jitter::Full).unwrap())
}

async fn client(to: &Serving, config: RetryConfig) -> (Client, RetryHandle) {
    let classify = towpath::DefaultClassify::new().declare(ChainFault::DECLARED);
    let layer = RetryLayer::new(config).honour_context().inner_keeps_deadlines().classify(classify);
    let handle = layer.handle();
    (Client::builder().idempotent("Chain.*").layer(layer).connect(to.url()).await.unwrap(), handle)
}

/// What the last hop says to each call.
#[derive(Clone, Copy)]
enum Last {
    Busy,
    Panics,
}

/// The last hop: it fails always, and counts.
fn last(says: Last, calls: Arc<AtomicU64>) -> Router {
    Router::new().route("Chain.Call", move || {
        calls.fetch_add(1, SeqCst);
        async move {
            match says {
                Last::Busy => Err::<Json<()>, Fault>(ChainFault::Busy.into()),
                Last::Panics => std::panic::resume_unwind(Box::new("on purpose")),
            }
        }
    })
}

/// A hop that calls the next one, and says in its own words that this failed.
fn hop(next: Client) -> Router {
    Router::new()
        .route("Chain.Call", async |State(next): State<Client>| -> Result<Json<()>, Fault> {
            let below = next.call::<()>("Chain.Call", &()).await;
            below.map(Json).map_err(|error| error.wrapped_in(ChainFault::Below))
        })
        .with_state(next)
}

#[tokio::test]
async fn pitfall_8_attempts_do_not_multiply_from_hop_to_hop() {
    for says in [Last::Busy, Last::Panics] {
        let calls = Arc::new(AtomicU64::new(0));
        // No reserve: all further attempts are a share of the first ones.
        let share = config().with_budget(BudgetConfig::try_new(0.2, 0).unwrap());
        let c = serve(last(says, calls.clone())).await;
        let b = serve(hop(client(&c, share).await.0)).await;
        let a = serve(hop(client(&b, share).await.0)).await;
        let (outside, handle) = client(&a, share).await;
        for _ in 0..500 {
            let error = soon(outside.call::<()>("Chain.Call", &())).await.unwrap_err();
            let fault = error.fault().unwrap();
            assert!(fault.is_retry_stop(), "the attempts are spent two hops below: {fault}");
        }
        let arrived = calls.load(SeqCst);
        assert!((550..=600).contains(&arrived), "{arrived} calls arrived of 500");
        assert_eq!(handle.counts().retries, 0);
    }
}

#[tokio::test]
async fn each_attempt_says_which_one_it_is_and_nobody_below_makes_more() {
    let calls = Arc::new(AtomicU64::new(0));
    let c = serve(last(Last::Busy, calls.clone())).await;
    let (below, below_handle) = client(&c, config()).await;
    // The first attempt is told to come again; the second one calls on.
    let b = serve(
        Router::new()
            .route("Chain.Call", async |State(next): State<Client>, context: Context| {
                match context.attempt() {
                    0 => Err(ChainFault::Busy.into()),
                    _ => next.call::<()>("Chain.Call", &()).await.map(Json).map_err(|error| match error {
                        CallError::Fault(fault) => fault,
                        other => other.wrapped_in(ChainFault::Below),
                    }),
                }
            })
            .with_state(below),
    )
    .await;
    let (outside, handle) = client(&b, config().with_max_attempts(2).unwrap()).await;
    let error = soon(outside.call::<()>("Chain.Call", &())).await.unwrap_err();
    assert_eq!(error.code().unwrap(), "CHN-W-002");
    assert_eq!((handle.counts().retries, below_handle.counts().retries, calls.load(SeqCst)), (1, 0, 1));
}

#[tokio::test]
async fn an_error_says_that_attempts_are_spent_and_how_many_they_were() {
    // A server that is itself a stack, and hands on what its client failed with.
    let calls = Arc::new(AtomicU64::new(0));
    let c = serve(last(Last::Panics, calls.clone())).await;
    let (next, _) = client(&c, config()).await;
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let url = format!("mcp://{}", server.local_addr());
    tokio::spawn(server.serve(next).into_future());

    let layer = RetryLayer::new(config()).honour_context();
    let handle = layer.handle();
    let outside = Client::builder().idempotent("*").layer(layer).connect(&url).await.unwrap();
    let error = soon(outside.call::<()>("Chain.Call", &())).await.unwrap_err();
    let error = error.error().unwrap();
    assert_eq!((error.kind(), error.is_retry_stop()), (ErrorKind::HandlerFailed, true));
    assert_eq!((calls.load(SeqCst), handle.counts().retries), (3, 0));
    // Here, too, it is known that the callee may have acted.
    assert_eq!((error.processed(), error.attempts()), (Processed::Unknown, 1));
}

#[tokio::test]
async fn an_error_of_a_service_says_stop_over_the_wire() {
    let service = tower::service_fn(|_: Request| async {
        Err::<Response, _>(towpath::BoxError::from(Error::new(ErrorKind::Overloaded).with_retry_stop(true)))
    });
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let url = format!("mcp://{}", server.local_addr());
    tokio::spawn(server.serve(service).into_future());
    let error = soon(Client::connect(&url).await.unwrap().call::<()>("A.B", &())).await.unwrap_err();
    assert!(error.error().unwrap().is_retry_stop());
}

/// Counts a handler for as long as it lives.
struct Busy(Arc<AtomicU64>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[tokio::test]
async fn the_loser_of_a_hedge_is_cancelled_on_the_wire() {
    let busy = Arc::new(AtomicU64::new(0));
    let gauge = busy.clone();
    let hangs_at_first = move |context: Context| {
        gauge.fetch_add(1, SeqCst);
        let busy = Busy(gauge.clone());
        async move {
            let _busy = busy;
            if context.attempt() == 0 {
                std::future::pending::<()>().await;
            }
            Json(context.attempt())
        }
    };
    let server = serve(Router::new().route("Chain.Call", hangs_at_first)).await;
    let hedge = HedgeConfig::try_new(HedgeAfter::Fixed(ms(20))).unwrap();
    let (client, handle) = client(&server, config().with_hedge(hedge)).await;
    let response = soon(client.request("Chain.Call").body(&()).send_raw()).await.unwrap();
    assert_eq!(&response.body()[..], b"1");
    assert_eq!(response.extensions().get::<Attempts>().unwrap().made(), 2);
    assert_eq!(handle.counts().hedges_won, 1);
    until("the loser's handler is gone", || busy.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_one_way_call_and_an_asynchronous_one() {
    let calls = Arc::new(AtomicU64::new(0));
    let server = serve(last(Last::Busy, calls.clone())).await;
    let (client, handle) = client(&server, config()).await;
    // Written is done, whatever comes of it.
    soon(client.request("Chain.Call").body(&()).send_one_way()).await.unwrap();
    until("it arrived", || calls.load(SeqCst) == 1).await;
    // Accepted is done; what comes of it is the outcome's.
    let accepted = soon(client.request("Chain.Call").body(&()).send_async::<()>()).await.unwrap();
    let error = soon(accepted).await.unwrap_err();
    assert_eq!(error.code().unwrap(), "CHN-W-002");
    assert_eq!((calls.load(SeqCst), handle.counts().retries), (2, 0));
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_within_the_call() {
    let server = serve(common::router()).await;
    let (address, url) = (server.address, server.url());
    server.kill().await;
    let patient = RetryConfig::default()
        .with_max_attempts(20)
        .unwrap()
        .with_backoff(Backoff::try_new(ms(20), ms(50), 2.0, Jitter::Equal).unwrap())
        .with_budget(BudgetConfig::try_new(0.0, 100).unwrap());
    let layer = RetryLayer::new(patient).honour_context();
    let client = Client::builder().layer(layer).connect_lazy(&url).unwrap();
    let call = tokio::spawn(async move { client.call::<u64>("Debug.Sleep", &common::Nap { ms: 1 }).await });
    tokio::time::sleep(ms(60)).await;
    let _server = common::serve_at(address, common::router()).await;
    assert_eq!(soon(call).await.unwrap().unwrap(), 1);
}

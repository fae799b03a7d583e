//! Retries by rules of one's own, over a real server: once as a closure, once as a type.
//!
//! The layer keeps what keeps a system alive (the number of attempts, the budget, the deadline, what the callee says
//! about waiting); the policy says which failures are worth another attempt. Run it: `cargo run --example own_policy`.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use towpath::{
    BoxError, Client, ErrorCode, Fault, Json, Response, Router, Server, fault_codes,
    retry::{Attempts, Decision, Failed, Policy, RetryConfig, RetryEvent, RetryLayer},
};

fault_codes! {
    /// What the stock service fails with.
    enum StockFault {
        /// Somebody else has the shelf; that is over soon.
        ShelfLocked = "STK-E-017", "somebody else has the shelf";
        /// There is none.
        SoldOut = "STK-E-003", "sold out";
    }
}

/// The shelf is locked for the first two who ask; then what is left is told.
async fn left(asked: Arc<AtomicU32>) -> Result<Json<u32>, Fault> {
    match asked.fetch_add(1, Relaxed) {
        n if n < 2 => Err(StockFault::ShelfLocked.into()),
        n if n < 4 => Ok(Json(85)),
        _ => Err(StockFault::SoldOut.into()),
    }
}

/// Codes that are worth another attempt, whatever their service says of them. What such a policy knows (a table, a
/// switch, a count) is its own.
#[derive(Clone)]
struct WorthIt(HashSet<ErrorCode>);

/// For any error, since it does not look at it.
impl<E> Policy<Response, E> for WorthIt {
    fn decide(&self, failed: &Failed<'_, Response, E>) -> Decision {
        match failed.class.code {
            Some(code) if self.0.contains(&code) => Decision::Retry,
            // As it would be without this policy.
            _ => failed.usual(),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = asked.clone();
    let router = Router::new().route("StockService.Left", move || left(counter.clone()));
    let server = Server::builder().bind("127.0.0.1:0").await?;
    let url = format!("mcp://{}", server.local_addr());
    tokio::spawn(server.serve(router).into_future());

    // To the classifier a fault of an application is an answer, and an answer is not asked for again.
    let config = RetryConfig::default().with_max_attempts(3)?;
    let usual = Client::builder().layer(RetryLayer::new(config).honour_context()).connect(&url).await?;
    let refused = usual.call::<u32>("StockService.Left", &()).await;
    println!("without a policy: {}", refused.err().ok_or("it should have been refused")?);

    // A closure: this one code, at once, and then after 5 ms.
    let locked = ErrorCode::from(StockFault::ShelfLocked);
    let patient = move |failed: &Failed<'_, Response, BoxError>| match failed.class.code {
        Some(code) if code == locked => {
            Decision::RetryAfter(Duration::from_millis(5 * u64::from(failed.attempt)))
        }
        _ => failed.usual(),
    };
    let told = |event: &RetryEvent| match event {
        RetryEvent::AttemptFailed { attempt, class, took, .. } => {
            let code = class.code.map_or_else(|| "nothing".to_owned(), |code| code.to_string());
            println!("  attempt {attempt} failed with {code} after {took:.0?}");
        }
        RetryEvent::Planned { attempt, after } => println!("  attempt {attempt} follows after {after:?}"),
        _ => {}
    };
    let layer = RetryLayer::new(config).honour_context().policy(patient).observe(told);
    let client = Client::builder().layer(layer).connect(&url).await?;
    println!("with a closure:");
    let answer = client.request("StockService.Left").body(&()).send_raw().await?;
    let made = answer.extensions().get::<Attempts>().map_or(1, Attempts::made);
    println!("  {} left, at attempt {}", String::from_utf8_lossy(answer.body()), made - 1);
    assert_eq!((made, asked.load(Relaxed)), (2, 3));

    // A type: codes that somebody has made a list of.
    let worth_it = WorthIt(HashSet::from([locked, StockFault::SoldOut.into()]));
    let layer = RetryLayer::new(config).honour_context().policy(worth_it).observe(told);
    let handle = layer.handle();
    let client = Client::builder().layer(layer).connect(&url).await?;
    println!("with a type of one's own:");
    let left: u32 = client.call("StockService.Left", &()).await?;
    println!("  {left} left, at once");
    let sold_out = client.call::<u32>("StockService.Left", &()).await;
    let sold_out = sold_out.err().ok_or("it should have been sold out")?;
    println!(
        "  {sold_out}: {} retries, and the budget has {} more",
        handle.counts().retries,
        handle.balance()
    );
    assert_eq!(handle.counts().retries, 2);
    Ok(())
}

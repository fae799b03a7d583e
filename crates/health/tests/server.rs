//! What a server says of itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use axum::{body::Body, http::Request};
use serde_json::{Value, json};
use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    runtime::Builder,
    time::{Instant, sleep},
};
use tower::ServiceExt;
use towpath_core::BoxError;
use towpath_health::{CheckStatus, Health, Readiness, ReportConfig, ReportStatus};

async fn get(health: &Health, path: &str) -> (u16, Value) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = health.router().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test(start_paused = true)]
async fn readiness_follows_the_switch() {
    let readiness = Readiness::starting();
    let health = Health::builder().readiness(readiness.clone()).build();
    assert_eq!(get(&health, "/readyz").await, (503, json!({"status": "not_ready", "checks": []})));
    assert_eq!(get(&health, "/livez").await, (200, json!({"status": "ok", "checks": []})));
    readiness.set_ready(true);
    assert_eq!(get(&health, "/readyz").await, (200, json!({"status": "ok", "checks": []})));
    readiness.set_ready(false);
    assert_eq!(get(&health, "/readyz").await.0, 503);
    readiness.set_ready(true);
    health.readiness().drain();
    readiness.set_ready(true);
    assert_eq!(get(&health, "/readyz").await, (503, json!({"status": "draining", "checks": []})));
    assert_eq!(get(&health, "/livez").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn the_report_lists_the_checks() {
    let broken = Arc::new(AtomicBool::new(true));
    let told = broken.clone();
    let health = Health::builder()
        .ready_check("database", move || {
            let told = told.clone();
            async move {
                sleep(Duration::from_millis(5)).await;
                if told.load(Relaxed) { Err("no route") } else { Ok(()) }
            }
        })
        .ready_check("cache", || async { Ok::<_, BoxError>(()) })
        .note("replica", || async { Err("it is behind") })
        .live_check("worker", || async { Ok::<_, BoxError>(()) })
        .build();
    let (status, body) = get(&health, "/readyz").await;
    assert_eq!(status, 503);
    let expected = json!({"status": "failing", "checks": [
        {"name": "database", "status": "failing", "error": "no route", "took_ms": 5, "age_ms": 0},
        {"name": "cache", "status": "ok", "took_ms": 0, "age_ms": 5},
        {"name": "replica", "status": "warning", "error": "it is behind", "took_ms": 0, "age_ms": 5},
    ]});
    assert_eq!(body, expected);
    broken.store(false, Relaxed);
    sleep(Duration::from_millis(1_000)).await;
    let (status, body) = get(&health, "/readyz").await;
    assert_eq!((status, &body["status"]), (200, &json!("ok")), "a note takes nobody out");
    let (status, body) = get(&health, "/livez").await;
    assert_eq!((status, &body["checks"][0]["name"]), (200, &json!("worker")));

    // Who drains answers with what is known.
    broken.store(true, Relaxed);
    sleep(Duration::from_millis(5_000)).await;
    health.readiness().drain();
    let (_, body) = get(&health, "/readyz").await;
    assert_eq!(body["status"], "draining");
    assert_eq!(body["checks"][0], json!({"name": "database", "status": "ok", "took_ms": 5, "age_ms": 5000}));
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_questions_costs_one_check() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let health = Health::builder()
        .ready_check("slow", move || {
            count.fetch_add(1, Relaxed);
            async {
                sleep(Duration::from_millis(100)).await;
                Ok::<_, BoxError>(())
            }
        })
        .build();
    let storm = || async {
        let asking: Vec<_> = (0..500)
            .map(|_| {
                let health = health.clone();
                tokio::spawn(async move { health.ready().await.is_ok() })
            })
            .collect();
        for one in asking {
            assert!(one.await.unwrap());
        }
    };
    storm().await;
    storm().await;
    sleep(Duration::from_millis(998)).await;
    storm().await;
    assert_eq!(made.load(Relaxed), 1);
    sleep(Duration::from_millis(2)).await;
    storm().await;
    assert_eq!(made.load(Relaxed), 2);
    health.config().set(ReportConfig::try_new(Duration::from_secs(1), Duration::ZERO).unwrap());
    storm().await;
    assert_eq!(made.load(Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn checks_are_made_at_a_time_and_end_in_time() {
    let mut builder = Health::builder();
    for name in ["a", "b", "c"] {
        builder = builder.ready_check(name, pending::<Result<(), BoxError>>);
    }
    let health = builder
        .ready_check("panics", || async { if true { panic!("on purpose") } else { Ok::<_, BoxError>(()) } })
        .build();
    let begin = Instant::now();
    let report = health.ready().await;
    assert_eq!(begin.elapsed().as_millis() / 10, 80);
    assert_eq!(report.status, ReportStatus::Failing);
    assert_eq!(report.checks[0].error.as_deref(), Some("no answer within 800ms"));
    assert_eq!(report.checks[3].error.as_deref(), Some("the check panicked, which is a defect of it"));
}

#[tokio::test(start_paused = true)]
async fn who_asked_and_left_takes_no_outcome_away() {
    let health = Health::builder()
        .ready_check("slow", || async {
            sleep(Duration::from_millis(100)).await;
            Ok::<_, BoxError>(())
        })
        .build();
    let (one, other) = (health.clone(), health.clone());
    let first = tokio::spawn(async move { one.ready().await });
    sleep(Duration::from_millis(10)).await;
    let second = tokio::spawn(async move { other.ready().await });
    sleep(Duration::from_millis(10)).await;
    first.abort();
    assert!(second.await.unwrap().is_ok());
}

#[test]
fn a_check_whose_runtime_ends_is_made_again_in_the_next() {
    let health = Health::builder()
        .ready_check("slow", || async {
            sleep(Duration::from_millis(100)).await;
            Ok::<_, BoxError>(())
        })
        .build();
    let runtime = || Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime().block_on(async {
        let asking = health.clone();
        tokio::spawn(async move { asking.ready().await });
        sleep(Duration::from_millis(10)).await;
    });
    runtime().block_on(async {
        let report = health.ready().await;
        assert_eq!(report.checks[0].status, CheckStatus::Failing);
        assert!(report.checks[0].error.as_deref().unwrap().contains("its runtime has ended"));
        // The clocks of two runtimes differ.
        sleep(Duration::from_secs(2)).await;
        assert!(health.ready().await.is_ok());
    });
}

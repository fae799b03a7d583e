//! What the layer does, on a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

mod common;

use common::{Events, Script, Step::*, ms, own, request};
use std::{future::pending, time::Duration};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};
use towpath_core::{
    Backoff, BoxError, BudgetConfig, EndpointId, ErrorKind, Jitter, Mode, Processed, Request, Response,
    context,
};
use towpath_retry::{
    Attempts, Decision, Ended, Failed, GaveUp, HedgeAfter, HedgeConfig, RetryConfig, RetryEvent, RetryLayer,
};
use towpath_testing::time::timed;

/// Waits that can be told beforehand: 100 ms, 200 ms, 400 ms, all of it half drawn.
fn config() -> RetryConfig {
    RetryConfig::default().with_backoff(Backoff::try_new(ms(100), ms(10_000), 2.0, Jitter::Equal).unwrap())
}

fn plenty() -> BudgetConfig {
    BudgetConfig::try_new(10.0, 1_000_000).unwrap()
}

fn idempotent() -> Request {
    let mut request = request();
    request.context_mut().set_idempotent(true);
    request
}

fn due_in(millis: u64) -> Request {
    let mut request = idempotent();
    request.context_mut().set_deadline(Some(Instant::now() + ms(millis)));
    request
}

fn hedged(after: u64, max: u16) -> RetryConfig {
    let hedge = HedgeConfig::try_new(HedgeAfter::Fixed(ms(after))).unwrap().with_max(max).unwrap();
    config().with_hedge(hedge)
}

// Retries.

#[tokio::test(start_paused = true)]
async fn an_answer_is_passed_on_with_nothing_added() {
    let (script, events) = (Script::new([Answer("there")]), Events::default());
    let layer = RetryLayer::new(config()).honour_context().observe(events.observer());
    let response = layer.layer(script.clone()).oneshot(request()).await.unwrap();
    assert_eq!(response.body(), "there");
    assert!(response.extensions().is_empty() && !response.is_retry_stop());
    assert_eq!((script.seen().len(), events.take()), (1, vec![]));
    assert_eq!((layer.handle().counts().calls, layer.handle().counts().retries), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_not_processed_is_sent_again_after_the_backoff() {
    let script = Script::new([Fail(ErrorKind::ConnectFailed), Fail(ErrorKind::Draining), Answer("there")]);
    let events = Events::default();
    let layer = RetryLayer::new(config()).honour_context().observe(events.observer());
    let (response, took) = timed(layer.layer(script.clone()).oneshot(request())).await;
    let response = response.unwrap();
    assert!((ms(150)..=ms(302)).contains(&took), "{took:?}");
    let seen = script.seen();
    assert_eq!(seen.iter().map(|seen| seen.attempt).collect::<Vec<_>>(), [0, 1, 2]);
    assert!((ms(50)..=ms(101)).contains(&(seen[1].at - seen[0].at)));
    assert!((ms(100)..=ms(201)).contains(&(seen[2].at - seen[1].at)));

    let attempts = response.extensions().get::<Attempts>().unwrap();
    let ended: Vec<_> = attempts.all().iter().map(|attempt| (attempt.number, attempt.ended)).collect();
    let code = |kind: ErrorKind| Ended::Failed(Some(kind.error_code()));
    assert_eq!(
        ended,
        [(0, code(ErrorKind::ConnectFailed)), (1, code(ErrorKind::Draining)), (2, Ended::Answered)]
    );
    assert_eq!(attempts.made(), 3);
    assert!(!response.is_retry_stop());
    let events = events.take();
    assert!(matches!(
        events[0],
        RetryEvent::AttemptFailed { attempt: 0, hedge: false, timed_out: false, .. }
    ));
    assert!(matches!(events[1], RetryEvent::Planned { attempt: 1, after } if after >= ms(50)));
    assert!(matches!(events[3], RetryEvent::Planned { attempt: 2, .. }));
    assert_eq!(events.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_tried_again_only_if_idempotent() {
    let lost = || Script::new([Fail(ErrorKind::ConnectionLost), Answer("there")]);
    let layer = RetryLayer::new(config()).honour_context();
    let error = layer.layer(lost()).oneshot(request()).await.unwrap_err();
    assert_eq!((own(&error).kind(), own(&error).is_retry_stop()), (ErrorKind::ConnectionLost, false));
    assert_eq!(layer.layer(lost()).oneshot(idempotent()).await.unwrap().body(), "there");
    // Nobody can say of itself that it is idempotent where nothing is known of requests.
    let blind = RetryLayer::new(config());
    assert!(blind.layer(lost()).oneshot(idempotent()).await.is_err());
    assert!(blind.assume_idempotent().layer(lost()).oneshot(request()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_of_no_use_is_not_tried_again() {
    for kind in
        [ErrorKind::CircuitOpen, ErrorKind::NoEndpoint, ErrorKind::RateLimited, ErrorKind::Undecodable]
    {
        let (script, events) = (Script::new([Fail(kind), Answer("no")]), Events::default());
        let layer = RetryLayer::new(config()).honour_context().observe(events.observer());
        let (outcome, took) = timed(layer.layer(script.clone()).oneshot(idempotent())).await;
        assert_eq!((own(&outcome.unwrap_err()).kind(), took), (kind, Duration::ZERO));
        assert_eq!(script.seen().len(), 1);
        assert_eq!(events.gave_up(), [(GaveUp::NotUseful, 1)], "{kind:?}");
    }
    // A rate limit of the callee is another matter.
    let remote = Script::new([
        Error(towpath_core::Error::new(ErrorKind::RateLimited).with_remote(true)),
        Answer("there"),
    ]);
    assert!(RetryLayer::new(config()).honour_context().layer(remote).oneshot(request()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_application_is_an_answer_unless_it_says_more() {
    let (script, events) = (Script::new([Fault("USR-E-001"), Answer("no")]), Events::default());
    let layer = RetryLayer::new(config()).honour_context().observe(events.observer());
    let response = layer.layer(script.clone()).oneshot(idempotent()).await.unwrap();
    assert!(response.is_fault() && !response.is_retry_stop() && response.extensions().is_empty());
    assert_eq!((script.seen().len(), events.take().len()), (1, 0));

    let refused =
        Script::new([NotProcessed("USR-E-001"), NotProcessed("USR-E-001"), NotProcessed("USR-E-001")]);
    let response = layer.layer(refused.clone()).oneshot(request()).await.unwrap();
    assert!(response.is_fault() && response.is_retry_stop());
    assert_eq!((refused.seen().len(), events.gave_up()), (3, vec![(GaveUp::AttemptsSpent, 3)]));
    assert_eq!(response.extensions().get::<Attempts>().unwrap().made(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_last_failure_says_how_many_there_were() {
    let script = Script::new([
        Fail(ErrorKind::ConnectionLost),
        Fail(ErrorKind::ConnectionLost),
        Fail(ErrorKind::Overloaded),
        Answer("too late"),
    ]);
    let layer = RetryLayer::new(config()).honour_context();
    let error = layer.layer(script.clone()).oneshot(idempotent()).await.unwrap_err();
    let own = own(&error);
    assert_eq!((own.kind(), own.attempts(), own.is_retry_stop()), (ErrorKind::Overloaded, 3, true));
    // The last attempt was refused; those before it may have been carried out.
    assert_eq!(own.processed(), Processed::Unknown);
    assert_eq!(script.seen().len(), 3);
    assert_eq!(layer.handle().counts().gave_up, 1);
}

#[tokio::test(start_paused = true)]
async fn the_callee_s_own_word_on_waiting_is_obeyed() {
    let told = |after| {
        towpath_core::Error::new(ErrorKind::Overloaded).with_remote(true).with_retry_after(Some(ms(after)))
    };
    let layer = RetryLayer::new(config()).honour_context();
    let script = Script::new([Error(told(700)), Answer("there")]);
    let (outcome, took) = timed(layer.layer(script).oneshot(request())).await;
    assert!(outcome.is_ok() && (ms(750)..=ms(801)).contains(&took), "{took:?}");

    // What was added is cut by the deadline; what was asked for is not.
    let script = Script::new([Error(told(700)), Answer("there")]);
    let (outcome, took) = timed(layer.layer(script).oneshot(due_in(720))).await;
    assert!(outcome.is_ok() && (ms(700)..=ms(720)).contains(&took), "{took:?}");

    let script = Script::new([Error(told(700)), Answer("no")]);
    let (outcome, took) = timed(layer.layer(script).oneshot(due_in(650))).await;
    assert_eq!((own(&outcome.unwrap_err()).kind(), took), (ErrorKind::Overloaded, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_first_retries_may_be_at_once() {
    let layer = RetryLayer::new(config().with_at_once(1)).honour_context();
    let refused = || Fail(ErrorKind::ConnectFailed);
    let script = Script::new([refused(), refused(), Answer("there")]);
    let (outcome, took) = timed(layer.layer(script.clone()).oneshot(request())).await;
    assert!(outcome.is_ok() && (ms(50)..=ms(101)).contains(&took), "{took:?}");
    assert_eq!(script.seen()[1].at, script.seen()[0].at);
    // Not where there is too much to do.
    let script = Script::new([Fail(ErrorKind::Overloaded), Answer("there")]);
    let (_, took) = timed(layer.layer(script).oneshot(request())).await;
    assert!(took >= ms(50), "{took:?}");
}

// Time.

#[tokio::test(start_paused = true)]
async fn pitfall_17_attempts_that_hang_are_over_at_the_deadline() {
    for config in [config(), config().with_attempt_timeout(ms(120)).unwrap()] {
        let layer = RetryLayer::new(config).honour_context();
        let hanging = service_fn(|_: Request| pending::<Result<Response, BoxError>>());
        let (outcome, took) = timed(layer.layer(hanging).oneshot(due_in(500))).await;
        let error = outcome.unwrap_err();
        assert_eq!(own(&error).kind(), ErrorKind::DeadlineExceeded);
        assert_eq!(own(&error).processed(), Processed::Unknown);
        // At the deadline; or before, if nothing more can be done.
        assert!(took <= ms(501), "{took:?}");
        assert!(layer.handle().counts().retries > 0 || took >= ms(500), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pitfall_17_no_attempt_begins_with_too_little_left() {
    let floor = ms(80);
    let config = config().with_min_attempt(floor).unwrap().with_max_attempts(10).unwrap();
    let layer = RetryLayer::new(config.with_budget(plenty())).honour_context();
    for deadline in (10..900).step_by(7) {
        let script = Script::always(Fail(ErrorKind::ConnectFailed));
        let before = Instant::now();
        let (outcome, took) = timed(layer.layer(script.clone()).oneshot(due_in(deadline))).await;
        assert_eq!(own(&outcome.unwrap_err()).kind(), ErrorKind::ConnectFailed);
        let seen = script.seen();
        for late in &seen[1..] {
            assert!(late.left.unwrap() >= floor, "{deadline}: {:?}", late.left);
        }
        // Who cannot go on says so at once: with the last failure, not at the deadline.
        assert_eq!(before + took, seen.last().unwrap().at);
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_has_a_deadline_of_its_own() {
    let config = config().with_attempt_timeout(ms(100)).unwrap();
    let script = Script::new([Hang, Hang, Answer("there")]);
    let events = Events::default();
    let layer = RetryLayer::new(config).honour_context().observe(events.observer());
    let response = layer.layer(script.clone()).oneshot(due_in(10_000)).await.unwrap();
    for seen in script.seen() {
        assert_eq!(seen.left, Some(ms(100)), "in the context");
    }
    let attempts = response.extensions().get::<Attempts>().unwrap().all().to_vec();
    assert_eq!(attempts[0].ended, Ended::TimedOut);
    assert!((ms(100)..=ms(101)).contains(&attempts[0].took), "{attempts:?}");
    assert!(matches!(events.take()[0], RetryEvent::AttemptFailed { timed_out: true, .. }));
    assert_eq!(script.alive(), 0, "what was given up is dropped");

    // What is left of the call is less.
    let script = Script::new([Hang, Answer("no")]);
    let (outcome, took) = timed(layer.layer(script.clone()).oneshot(due_in(40))).await;
    assert_eq!(own(&outcome.unwrap_err()).kind(), ErrorKind::DeadlineExceeded);
    assert!((ms(40)..=ms(41)).contains(&took) && script.seen()[0].left == Some(ms(40)), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_never_gets_ready_is_over_in_time_and_the_failure_before_it_is_told() {
    // One permit, which the failed attempt gives back, and which somebody else takes in the meantime.
    let script = Script::new([Fail(ErrorKind::ConnectFailed), Hang]);
    let narrow = tower::limit::ConcurrencyLimitLayer::new(1).layer(script.clone());
    let mut other = narrow.clone();
    let service = RetryLayer::new(config()).honour_context().layer(narrow);
    let call = tokio::spawn(service.oneshot(due_in(400)));
    tokio::time::sleep(ms(1)).await;
    let _hanging = other.ready().await.unwrap().call(request());
    let (outcome, took) = timed(call).await;
    let error = outcome.unwrap().unwrap_err();
    assert_eq!((own(&error).kind(), own(&error).attempts()), (ErrorKind::ConnectFailed, 2));
    assert!((ms(398)..=ms(401)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_backs_off_holds_nothing() {
    let script = Script::new([Fail(ErrorKind::ConnectFailed), Answer("other"), Answer("there")]);
    let narrow = tower::limit::ConcurrencyLimitLayer::new(1).layer(script.clone());
    let service = RetryLayer::new(config()).honour_context().layer(narrow.clone());
    let mut mine = service.clone();
    let call = tokio::spawn(mine.ready().await.unwrap().call(request()));
    tokio::time::sleep(ms(1)).await;
    // The one permit is free, while the call waits for its second attempt and its service is still there.
    let (other, waited) = timed(narrow.oneshot(request())).await;
    assert_eq!((&other.unwrap().body()[..], waited), (&b"other"[..], Duration::ZERO));
    assert_eq!(call.await.unwrap().unwrap().body(), "there");
    drop(mine);
}

#[tokio::test(start_paused = true)]
async fn a_late_call_is_refused_without_a_call() {
    let script = Script::new([]);
    let layer = RetryLayer::new(config()).honour_context();
    let error = layer.layer(script.clone()).oneshot(due_in(0)).await.unwrap_err();
    assert_eq!(own(&error).processed(), Processed::No);
    assert_eq!((script.seen().len(), layer.handle().counts().calls), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn where_deadlines_are_kept_below_there_is_no_timer_at_first() {
    let hanging = service_fn(|_: Request| pending::<Result<Response, BoxError>>());
    let service = RetryLayer::new(config()).honour_context().inner_keeps_deadlines().layer(hanging);
    let call = service.oneshot(due_in(100));
    assert!(tokio::time::timeout(ms(1_000), call).await.is_err(), "nobody below keeps it");
}

// The chain.

#[tokio::test(start_paused = true)]
async fn a_call_that_is_a_retry_further_up_is_not_retried() {
    let (script, events) = (Script::new([Fail(ErrorKind::ConnectFailed), Answer("no")]), Events::default());
    let layer = RetryLayer::new(config()).honour_context().observe(events.observer());
    let mut request = idempotent();
    request.context_mut().set_attempt(1);
    let error = layer.layer(script.clone()).oneshot(request).await.unwrap_err();
    // The one further up decides: its attempts are not spent.
    assert!(!own(&error).is_retry_stop());
    assert_eq!((script.seen().len(), script.seen()[0].attempt), (1, 1));
    assert_eq!(events.gave_up(), [(GaveUp::Upstream, 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_says_stop_is_not_tried_again() {
    let spent = towpath_core::Error::new(ErrorKind::ConnectFailed).with_retry_stop(true);
    let layer = RetryLayer::new(config()).honour_context();
    let script = Script::new([Error(spent), Answer("no")]);
    let error = layer.layer(script.clone()).oneshot(idempotent()).await.unwrap_err();
    assert!(own(&error).is_retry_stop() && script.seen().len() == 1);

    let stop = service_fn(|_: Request| async {
        let fault = towpath_core::Fault::new(towpath_core::ErrorCode::from_static("USR-W-001"), "busy");
        let mut response = Response::from(fault.with_not_processed(true));
        response.set_retry_stop();
        Ok::<_, BoxError>(response)
    });
    let response = layer.layer(stop).oneshot(idempotent()).await.unwrap();
    assert!(response.is_retry_stop() && response.extensions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_were_tried_are_known_to_whoever_picks() {
    let picking = service_fn(|request: Request| async move {
        let tried = request.context().tried().to_vec();
        context::pick(EndpointId(10 + tried.len() as u64));
        match tried[..] {
            [EndpointId(10), EndpointId(11)] => Ok(Response::new("third".into())),
            _ => Err(BoxError::from(towpath_core::Error::new(ErrorKind::ConnectFailed))),
        }
    });
    let service = RetryLayer::new(config()).honour_context().layer(picking);
    let response = service.oneshot(request()).await.unwrap();
    let attempts = response.extensions().get::<Attempts>().unwrap();
    let went: Vec<_> = attempts.all().iter().map(|attempt| attempt.endpoint.unwrap().0).collect();
    assert_eq!(went, [10, 11, 12]);
}

// Modes.

#[tokio::test(start_paused = true)]
async fn a_one_way_call_is_not_sent_again_once_it_may_have_been_written() {
    let layer = RetryLayer::new(hedged(10, 1)).honour_context();
    for (kind, attempts) in [(ErrorKind::ConnectionLost, 1), (ErrorKind::ConnectFailed, 2)] {
        let script = Script::new([Fail(kind), Answer("")]);
        let mut request = idempotent();
        request.set_mode(Mode::OneWay);
        let _ = layer.layer(script.clone()).oneshot(request).await;
        assert_eq!(script.seen().len(), attempts, "{kind:?}");
    }
    for mode in [Mode::OneWay, Mode::Async] {
        let script = Script::new([Late(50, "first"), Answer("hedge")]);
        let mut request = idempotent();
        request.set_mode(mode);
        layer.layer(script.clone()).oneshot(request).await.unwrap();
        assert_eq!(script.seen().len(), 1, "{mode:?} is not hedged");
    }
}

// Hedges.

#[tokio::test(start_paused = true)]
async fn a_slow_attempt_gets_company_and_the_loser_is_dropped() {
    let (script, events) = (Script::new([Hang, Late(5, "hedge")]), Events::default());
    let layer = RetryLayer::new(hedged(50, 1)).honour_context().observe(events.observer());
    let (response, took) = timed(layer.layer(script.clone()).oneshot(idempotent())).await;
    let response = response.unwrap();
    assert_eq!(response.body(), "hedge");
    assert!((ms(55)..=ms(57)).contains(&took), "{took:?}");
    assert_eq!((script.alive(), script.seen()[1].attempt), (0, 1));
    let attempts = response.extensions().get::<Attempts>().unwrap().all().to_vec();
    let ended: Vec<_> =
        attempts.iter().map(|attempt| (attempt.number, attempt.hedge, attempt.ended)).collect();
    assert_eq!(ended, [(0, false, Ended::Dropped), (1, true, Ended::Answered)]);
    let events = events.take();
    assert!(matches!(events[0], RetryEvent::Hedged { attempt: 1, after } if after >= ms(50)), "{events:?}");
    assert_eq!(events[1..], [RetryEvent::HedgeWon { attempt: 1 }]);
    let counts = layer.handle().counts();
    assert_eq!((counts.hedges, counts.hedges_won, counts.retries), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_first_attempt_may_still_win() {
    let script = Script::new([Late(60, "first"), Hang]);
    let layer = RetryLayer::new(hedged(50, 1)).honour_context();
    let (response, took) = timed(layer.layer(script.clone()).oneshot(idempotent())).await;
    assert_eq!(response.unwrap().body(), "first");
    assert!((ms(60)..=ms(61)).contains(&took), "{took:?}");
    assert_eq!((script.alive(), layer.handle().counts().hedges_won), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn only_idempotent_calls_are_hedged() {
    let script = Script::new([Late(500, "first"), Answer("no")]);
    let response =
        RetryLayer::new(hedged(50, 1)).honour_context().layer(script.clone()).oneshot(request()).await;
    assert_eq!((&response.unwrap().body()[..], script.seen().len()), (&b"first"[..], 1));
}

#[tokio::test(start_paused = true)]
async fn hedges_are_at_most_so_many() {
    let script = Script::new([Hang, Hang, Late(500, "third"), Answer("no")]);
    let layer = RetryLayer::new(hedged(50, 2).with_max_attempts(10).unwrap()).honour_context();
    let response = layer.layer(script.clone()).oneshot(idempotent()).await.unwrap();
    assert_eq!((&response.body()[..], script.seen().len()), (&b"third"[..], 3));
    let seen = script.seen();
    assert!((ms(50)..=ms(51)).contains(&(seen[2].at - seen[1].at)));
    // And never more attempts than there may be.
    let script = Script::new([Hang, Late(500, "second"), Answer("no")]);
    let layer = RetryLayer::new(hedged(50, 5).with_max_attempts(2).unwrap()).honour_context();
    assert_eq!(layer.layer(script.clone()).oneshot(idempotent()).await.unwrap().body(), "second");
}

#[tokio::test(start_paused = true)]
async fn hedge_first_and_retry_after_failure() {
    // The first fails while the hedge is under way; the hedge fails; then there is a retry.
    let lost = ErrorKind::ConnectionLost;
    let script = Script::new([LateFail(60, lost), LateFail(30, lost), Answer("there")]);
    let layer = RetryLayer::new(hedged(50, 2)).honour_context();
    let response = layer.layer(script.clone()).oneshot(idempotent()).await.unwrap();
    let (seen, counts) = (script.seen(), layer.handle().counts());
    assert_eq!((seen.len(), counts.hedges, counts.retries), (3, 1, 1));
    let waited = seen[2].at - (seen[1].at + ms(30));
    assert!((ms(50)..=ms(102)).contains(&waited), "{waited:?}");
    let ended: Vec<_> =
        response.extensions().get::<Attempts>().unwrap().all().iter().map(|a| a.number).collect();
    assert_eq!(ended, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_that_is_refused_does_not_end_the_call() {
    for kind in [ErrorKind::CircuitOpen, ErrorKind::NoEndpoint, ErrorKind::ConnectionLost] {
        let script = Script::new([Late(200, "first"), Fail(kind)]);
        let layer = RetryLayer::new(hedged(50, 2)).honour_context();
        let response = layer.layer(script.clone()).oneshot(idempotent()).await.unwrap();
        assert_eq!((&response.body()[..], script.seen().len()), (&b"first"[..], 2), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn hedges_have_their_own_share() {
    let own = BudgetConfig::try_new(0.0, 2).unwrap();
    let hedge = HedgeConfig::try_new(HedgeAfter::Fixed(ms(10))).unwrap().with_budget(own);
    let events = Events::default();
    let layer = RetryLayer::new(config().with_hedge(hedge)).honour_context().observe(events.observer());
    let service = layer.layer(Script::always(Late(20, "slow")));
    for _ in 0..5 {
        service.clone().oneshot(idempotent()).await.unwrap();
    }
    let counts = layer.handle().counts();
    assert_eq!((counts.hedges, counts.budget_exhausted), (2, 3));
    assert_eq!(layer.handle().balance(), 10 - 2 + 1, "hedges cost the common budget, too");
    assert!(events.take().contains(&RetryEvent::BudgetExhausted { hedge: true }));
    // In the next second there are others.
    tokio::time::sleep(ms(1_000)).await;
    service.oneshot(idempotent()).await.unwrap();
    assert_eq!(layer.handle().counts().hedges, 3);
}

#[tokio::test(start_paused = true)]
async fn a_percentile_is_learned() {
    let hedge = HedgeConfig::try_new(HedgeAfter::Percentile(90.0)).unwrap();
    let layer = RetryLayer::new(config().with_hedge(hedge)).honour_context();
    let service = layer.layer(Script::always(Late(20, "usual")));
    assert_eq!(layer.handle().hedge_after(), None);
    for _ in 0..150 {
        service.clone().oneshot(idempotent()).await.unwrap();
    }
    let after = layer.handle().hedge_after().unwrap();
    assert!((ms(20)..=ms(24)).contains(&after), "{after:?}");
    assert_eq!(layer.handle().counts().hedges, 0);

    let script = Script::new([Hang, Answer("hedge")]);
    let (response, took) = timed(layer.layer(script).oneshot(idempotent())).await;
    assert_eq!(response.unwrap().body(), "hedge");
    assert!((after..=after + ms(2)).contains(&took), "{took:?}");
}

// What a user can say.

#[tokio::test(start_paused = true)]
async fn a_policy_of_one_s_own() {
    let stubborn = |failed: &Failed<'_, Response, BoxError>| match failed.attempt {
        0 => Decision::RetryAfter(ms(7)),
        1 => Decision::Stop,
        _ => failed.usual(),
    };
    let (script, events) = (Script::always(Fail(ErrorKind::CircuitOpen)), Events::default());
    let layer = RetryLayer::new(config()).honour_context().policy(stubborn).observe(events.observer());
    let (_, took) = timed(layer.layer(script.clone()).oneshot(request())).await;
    assert!((ms(7)..=ms(8)).contains(&took) && script.seen().len() == 2, "{took:?}");
    assert_eq!(events.gave_up(), [(GaveUp::NotUseful, 2)]);
    // One that says no where the class says yes.
    let never = |_: &Failed<'_, Response, BoxError>| Decision::Stop;
    let layer = RetryLayer::new(config()).honour_context().policy(never).observe(events.observer());
    let _ = layer.layer(Script::always(Fail(ErrorKind::ConnectFailed))).oneshot(request()).await;
    assert_eq!(events.gave_up(), [(GaveUp::Policy, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_config_is_replaced_while_it_runs() {
    let layer = RetryLayer::new(config()).honour_context();
    let (handle, script) = (layer.handle(), Script::always(Fail(ErrorKind::ConnectFailed)));
    let service = layer.layer(script.clone());
    let _ = service.clone().oneshot(request()).await;
    assert_eq!(script.seen().len(), 3);
    let change = |text: &str| handle.config().update(|_| serde_json::from_str(text));
    change(r#"{"max_attempts": 2, "budget": {"share": 0, "per_second": 1}}"#).unwrap();
    tokio::time::sleep(ms(2_000)).await;
    let _ = service.clone().oneshot(request()).await;
    assert_eq!((script.seen().len(), handle.balance()), (5, 0));
    let refused = change(r#"{"max_attempts": 0}"#).unwrap_err();
    assert!(refused.to_string().contains("max_attempts: 0 is not from 1 to 100"), "{refused}");
    assert_eq!(handle.config().get().max_attempts(), 2);
}

//! What a balancer does, on paused time.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

mod common;

use common::*;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Service, ServiceExt};
use towpath_balance::{Balancer, LeastRequest, PowerOfTwo, RoundRobin, View};
use towpath_core::{
    Change, EndpointStatus, Error, ErrorKind, Fixed, Processed,
    context::{Listen, pick},
};
use towpath_testing::time::{settle, timed};

// While nobody knows where.

#[tokio::test(start_paused = true)]
async fn calls_wait_until_it_is_known_which_endpoints_there_are() {
    let (told, servers) = (Told::default(), Server::many(1));
    let balance = Balancer::new(config(|_| ())).honour_context().over(told.source(), Servers::new(&servers));
    let mut waiting = task::spawn(balance.clone().oneshot(request()));
    assert_pending!(waiting.poll());
    advance(ms(2_000)).await;
    assert!(!waiting.is_woken(), "nothing is polled by a timer");
    told.insert(&servers);
    settle().await;
    assert!(waiting.is_woken());
    assert_pending!(waiting.poll());
    advance(ms(10)).await;
    assert_ready_ok!(waiting.poll());
    assert_eq!((balance.handle().is_settled(), balance.handle().counts().ready), (false, 1));
    told.tell([Change::Settled]);
    settle().await;
    assert!(balance.handle().is_settled());
}

#[tokio::test(start_paused = true)]
async fn they_wait_as_long_as_they_may() {
    let told = Told::default();
    let events = Events::default();
    let balancer = Balancer::new(config(|o| o.wait = ms(700))).honour_context().observe(events.observer());
    let balance = balancer.over(told.source(), Servers::default());
    let (outcome, took) = timed(call(&balance)).await;
    let error = own(outcome);
    assert_eq!((error.kind(), error.processed()), (ErrorKind::NoEndpoint, Processed::No));
    let text = "no endpoint available: discovery has not said yet which endpoints there are; waited 700.0ms";
    assert!(error.to_string().contains(text), "{error}");
    assert!((ms(700)..=ms(701)).contains(&took), "{took:?}");
    assert_eq!(events.take(), ["none 0 endpoints"]);
    let (outcome, took) = timed(call_with(&balance, due_in(50))).await;
    let error = own(outcome);
    assert_eq!((error.kind(), error.processed()), (ErrorKind::DeadlineExceeded, Processed::No));
    assert!((ms(50)..=ms(51)).contains(&took), "{took:?}");

    let none = config(|o| o.wait = ms(0));
    balance.handle().config().set(none);
    let mut call = task::spawn(balance.clone().oneshot(request()));
    let outcome = assert_ready!(call.poll());
    assert_eq!(own(outcome).kind(), ErrorKind::NoEndpoint);
}

#[tokio::test(start_paused = true)]
async fn where_there_is_none_the_call_fails_at_once() {
    let balance = Balancer::new(config(|_| ())).honour_context().over(Fixed::new([]), Servers::default());
    let (outcome, took) = timed(call(&balance)).await;
    assert_eq!((own(outcome).kind(), took), (ErrorKind::NoEndpoint, ms(0)));
    let fixed = fixed(&[], config(|_| ()));
    let mut call = task::spawn(fixed.oneshot(request()));
    assert_ready_err!(call.poll());
}

#[tokio::test(start_paused = true)]
async fn the_error_says_what_is_the_matter() {
    let servers = Server::many(5);
    let balance = fixed(&servers, config(|o| (o.wait, o.panic_below, o.max_ejected) = (ms(100), 0.0, 1.0)));
    servers[0].disconnect();
    servers[1].disconnect();
    servers[2].endpoint().state().ask_ejection(Some(Instant::now() + ms(5_000)));
    servers[3].endpoint().state().set_draining(true);
    servers[4].endpoint().state().set_unhealthy(true);
    let error = own(call(&balance).await);
    let says = "5 endpoints: 0 ready, 1 ejected, 1 unhealthy, 2 connecting, 1 draining; waited 100.0ms";
    assert!(error.to_string().contains(says), "{error}");
    assert!(error.retry_after().is_some_and(|after| after >= ms(4_899)), "{:?}", error.retry_after());
}

// While none is connected.

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_those_that_connect_and_goes_to_the_first_that_has() {
    let servers: Vec<_> = (0..5).map(Server::unconnected).collect();
    let balance = fixed(&servers, config(|_| ()));
    let mut waiting = task::spawn(balance.clone().oneshot(request()));
    assert_pending!(waiting.poll());
    let in_flight = |balance: &towpath_balance::BalanceHandle| {
        balance.endpoints().iter().map(|view| view.in_flight).collect::<Vec<_>>()
    };
    let handle = balance.handle();
    assert_eq!(in_flight(&handle).iter().sum::<u32>(), 2, "it waits for two");
    // One that it does not wait for.
    let other = handle.endpoints().iter().position(|view| view.in_flight == 0).unwrap();
    assert!(!waiting.is_woken());
    servers[other].connect();
    assert!(waiting.is_woken());
    assert_pending!(waiting.poll());
    assert_eq!((servers[other].calls(), in_flight(&handle).iter().sum::<u32>()), (1, 1));
    advance(ms(10)).await;
    assert_eq!(usize::from(assert_ready_ok!(waiting.poll()).body()[0]), other);
    assert_eq!(in_flight(&handle), [0; 5]);
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_says_nothing_of_itself_is_ready_when_it_is() {
    for over in [false, true] {
        let servers: Vec<_> = (0..2).map(Server::unconnected).collect();
        let endpoints = servers.iter().map(Server::endpoint);
        let balancer = Balancer::new(config(|_| ())).honour_context().pick_by(RoundRobin::new());
        let balance = match over {
            true => balancer.over(Fixed::new(endpoints), Servers::new(&servers)),
            false => balancer.fixed(endpoints, Servers::new(&servers)),
        };
        let mut first = task::spawn(balance.clone().oneshot(request()));
        assert_pending!(first.poll());
        servers[1].connect_silently();
        settle().await;
        assert_pending!(first.poll());
        assert_eq!(servers[1].calls(), 1, "over: {over}");
        for _ in 0..3 {
            assert_eq!(call(&balance).await.unwrap(), 1);
        }
        // The other one is looked at again and again, or waited for.
        servers[0].connect_silently();
        advance(ms(10_000)).await;
        settle().await;
        let mut to = [0, 0];
        for _ in 0..20 {
            to[call(&balance).await.unwrap()] += 1;
        }
        assert_eq!(to, [10, 10], "over: {over}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_is_not_ready_is_left_for_one_that_is() {
    let servers = Server::many(3);
    let balance = fixed(&servers, config(|_| ()));
    call(&balance).await.unwrap();
    // It has a connection, but no room.
    for server in &servers[..2] {
        server.disconnect();
        server.endpoint().state().set_ready();
    }
    for _ in 0..10 {
        assert_eq!(call(&balance).await.unwrap(), 2);
    }
    // None has: the first one that has room again takes the call, long after the time for which a call waits for
    // endpoints.
    servers[2].disconnect();
    servers[2].endpoint().state().set_ready();
    let mut waiting = task::spawn(balance.clone().oneshot(request()));
    assert_pending!(waiting.poll());
    advance(ms(60_000)).await;
    assert!(!waiting.is_woken());
    servers.iter().for_each(Server::connect_silently);
    assert!(waiting.is_woken());
    assert_pending!(waiting.poll());
    assert_eq!(servers.iter().map(Server::in_work).sum::<u64>(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waits_nowhere_any_more() {
    let servers: Vec<_> = (0..2).map(Server::unconnected).collect();
    let balance = fixed(&servers, config(|_| ()));
    let mut waiting = task::spawn(balance.clone().oneshot(request()));
    assert_pending!(waiting.poll());
    drop(waiting);
    assert!(balance.handle().endpoints().iter().all(|view| view.in_flight == 0));
}

// Who is picked.

#[tokio::test(start_paused = true)]
async fn draining_and_removed_ones_are_never_called() {
    let (told, servers) = (Told::default(), Server::many(3));
    told.insert(&servers);
    told.tell([Change::Settled]);
    let balance = Balancer::new(config(|o| o.wait = ms(100)))
        .honour_context()
        .over(told.source(), Servers::new(&servers));
    balance.start();
    settle().await;
    servers[0].endpoint().state().set_draining(true);
    let under_way = tokio::spawn({
        let balance = balance.clone();
        async move { call(&balance).await }
    });
    settle().await;
    told.remove(&servers[1]);
    advance(ms(10)).await;
    settle().await;
    assert_eq!(servers[1].endpoint().state().status(), EndpointStatus::Gone);
    under_way.await.unwrap().unwrap();
    let calls = servers[1].calls();
    for _ in 0..20 {
        assert_eq!(call(&balance).await.unwrap(), 2);
    }
    assert_eq!((servers[0].calls(), servers[1].calls()), (0, calls));
    told.remove(&servers[2]);
    advance(ms(10)).await;
    assert!(own(call(&balance).await).to_string().contains("1 endpoint: 0 ready, 1 draining"));
}

#[tokio::test(start_paused = true)]
async fn what_was_tried_is_tried_again_only_if_there_is_no_other() {
    let servers = Server::many(3);
    let balance = fixed(&servers, config(|_| ()));
    for _ in 0..20 {
        let mut again = request();
        again.context_mut().add_tried(servers[0].endpoint().id());
        again.context_mut().add_tried(servers[2].endpoint().id());
        assert_eq!(call_with(&balance, again).await.unwrap(), 1);
    }
    servers[1].disconnect();
    let mut again = request();
    servers.iter().for_each(|server| again.context_mut().add_tried(server.endpoint().id()));
    let to = call_with(&balance, again).await.unwrap();
    assert!(to != 1);
}

#[tokio::test(start_paused = true)]
async fn who_retries_hears_where_an_attempt_goes() {
    let servers = Server::many(2);
    let mut balance = fixed(&servers, config(|_| ()));
    let listen = Listen::new();
    let mut call = task::spawn(balance.ready().await.unwrap().call(request()));
    let heard = listen.heard().unwrap();
    drop(listen);
    assert_pending!(call.poll());
    let went = servers.iter().find(|server| server.calls() == 1).unwrap();
    assert_eq!(went.endpoint().id(), heard);
    // And in the wait.
    servers.iter().for_each(Server::disconnect);
    let mut waiting = task::spawn(balance.call(request()));
    assert_pending!(waiting.poll());
    servers[1].connect();
    let listen = Listen::new();
    pick(towpath_core::EndpointId(0));
    assert_pending!(waiting.poll());
    assert_eq!(listen.heard(), Some(servers[1].endpoint().id()));
}

#[tokio::test(start_paused = true)]
async fn pickers_are_replaced_by_one_s_own() {
    let servers = Server::many(3);
    let endpoints = || servers.iter().map(Server::endpoint);
    let last = |view: &View<'_>| (0..view.len()).rev().find(|index| view.is_ready(*index));
    let balance = Balancer::new(config(|_| ())).pick_by(last).fixed(endpoints(), Servers::new(&servers));
    assert_eq!(call(&balance).await.unwrap(), 2);
    // What is not ready is not called, whatever it says.
    let stubborn = |_: &View<'_>| Some(1);
    let balance = Balancer::new(config(|o| o.wait = ms(10)))
        .pick_by(stubborn)
        .fixed(endpoints(), Servers::new(&servers));
    assert_eq!(call(&balance).await.unwrap(), 1);
    servers[1].endpoint().state().set_draining(true);
    assert_eq!(own(call(&balance).await).kind(), ErrorKind::NoEndpoint);
    let wrong = |view: &View<'_>| Some(view.len());
    let balance =
        Balancer::new(config(|o| o.wait = ms(10))).pick_by(wrong).fixed(endpoints(), Servers::new(&servers));
    assert_eq!(own(call(&balance).await).kind(), ErrorKind::NoEndpoint);

    for picker in [PowerOfTwo::new(), PowerOfTwo::in_flight()] {
        let balance =
            Balancer::new(config(|_| ())).pick_by(picker).fixed(endpoints(), Servers::new(&servers));
        call(&balance).await.unwrap();
    }
    let balance =
        Balancer::new(config(|_| ())).pick_by(LeastRequest).fixed(endpoints(), Servers::new(&servers));
    call(&balance).await.unwrap();
}

// The set of endpoints.

#[tokio::test(start_paused = true)]
async fn described_anew_an_endpoint_keeps_its_stack_and_its_gauge() {
    let (told, servers) = (Told::default(), Server::many(2));
    let make = Servers::new(&servers);
    told.insert(&servers);
    told.tell([Change::Settled]);
    let balance = Balancer::new(config(|_| ())).honour_context().over(told.source(), make.clone());
    for _ in 0..10 {
        call(&balance).await.unwrap();
    }
    told.tell([Change::Insert(servers[0].endpoint().with_weight(0))]);
    advance(ms(20)).await;
    settle().await;
    let views = balance.handle().endpoints();
    let view = views.iter().find(|view| view.endpoint.id() == servers[0].endpoint().id()).unwrap();
    assert_eq!((view.endpoint.weight(), view.picks, make.made()), (0, servers[0].calls(), 2));
    for _ in 0..10 {
        assert_eq!(call(&balance).await.unwrap(), 1, "a weight of 0 is no call");
    }
    // If all of them have none, all are alike.
    told.tell([Change::Insert(servers[1].endpoint().with_weight(0))]);
    advance(ms(20)).await;
    settle().await;
    let mut to = [0, 0];
    for _ in 0..40 {
        to[call(&balance).await.unwrap()] += 1;
    }
    assert!(to.iter().all(|calls| *calls > 5), "{to:?}");
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_together_are_taken_in_together() {
    let (told, servers) = (Told::default(), Server::many(100));
    let tables = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    struct Counting(std::sync::Arc<std::sync::atomic::AtomicU32>);
    impl towpath_balance::Pick for Counting {
        type Table = usize;
        fn table(&self, endpoints: &[&towpath_core::Endpoint]) -> usize {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            endpoints.len()
        }
        fn pick(&self, table: &usize, view: &View<'_>) -> Option<usize> {
            assert_eq!(*table, view.len());
            view.any_ready()
        }
    }
    let balance = Balancer::new(config(|_| ()))
        .pick_by(Counting(tables.clone()))
        .over(told.source(), Servers::new(&servers));
    balance.start();
    settle().await;
    let before = tables.load(std::sync::atomic::Ordering::SeqCst);
    told.insert(&servers);
    settle().await;
    assert_eq!(balance.handle().counts().ready, 100);
    for server in &servers[..50] {
        told.remove(server);
        settle().await;
    }
    advance(ms(20)).await;
    settle().await;
    assert_eq!(balance.handle().counts().ready, 50);
    assert_eq!(tables.load(std::sync::atomic::Ordering::SeqCst) - before, 2);
    call(&balance).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_before_the_first_use_and_nothing_after_the_last() {
    let (told, servers) = (Told::default(), Server::many(1));
    told.insert(&servers);
    let make = Servers::new(&servers);
    let balance = Balancer::new(config(|_| ())).honour_context().over(told.source(), make.clone());
    settle().await;
    assert_eq!((make.made(), tokio::runtime::Handle::current().metrics().num_alive_tasks()), (0, 0));
    let handle = balance.handle();
    let clone = balance.clone();
    drop(balance);
    call(&clone).await.unwrap();
    let mut under_way = task::spawn(clone.clone().oneshot(request()));
    assert_pending!(under_way.poll());
    drop(clone);
    settle().await;
    assert!(!told.is_dropped(), "a call is under way");
    advance(ms(10)).await;
    assert_ready_ok!(under_way.poll());
    settle().await;
    assert!(told.is_dropped());
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    assert_eq!(handle.counts().known, 0, "the handle remains, and keeps nothing");

    // Never used.
    let unused = Told::default();
    drop(Balancer::new(config(|_| ())).honour_context().over(unused.source(), Servers::default()));
    assert!(unused.is_dropped());
}

#[test]
fn outside_a_runtime_it_waits_for_one() {
    let told = Told::default();
    let servers = Server::many(1);
    told.insert(&servers);
    let balance = Balancer::new(config(|_| ())).honour_context().over(told.source(), Servers::new(&servers));
    balance.start();
    towpath_testing::time::paused(async {
        call(&balance).await.unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn when_discovery_ends_the_set_stays() {
    let (told, servers) = (Told::default(), Server::many(2));
    told.insert(&servers);
    told.end();
    let balance = Balancer::new(config(|_| ())).honour_context().over(told.source(), Servers::new(&servers));
    call(&balance).await.unwrap();
    settle().await;
    assert!(told.is_dropped());
    servers[0].disconnect();
    for _ in 0..10 {
        assert_eq!(call(&balance).await.unwrap(), 1);
    }
}

// Events, and the handle.

#[tokio::test(start_paused = true)]
async fn what_it_does_is_told() {
    let (told, servers, events) = (Told::default(), Server::many(2), Events::default());
    told.insert(&servers);
    told.tell([Change::Settled]);
    let balancer = Balancer::new(config(|_| ())).honour_context().observe(events.observer());
    let make = Servers::new(&servers[..1]);
    let balance = balancer.over(told.source(), move |endpoint: towpath_core::Endpoint| {
        use towpath_core::NewService;
        if make.all.lock().unwrap()[0].endpoint().id() != endpoint.id() {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        make.new_service(endpoint)
    });
    assert_eq!(call(&balance).await.unwrap(), 0);
    let told_of = events.take();
    let expected = ["joined mcp://10.0.0.0:1", "settled 1 endpoint: 1 ready", "no stack mcp://10.0.0.1:1"];
    assert!(expected.iter().all(|event| told_of.iter().any(|told| told == event)), "{told_of:?}");
    told.remove(&servers[0]);
    advance(ms(20)).await;
    settle().await;
    assert_eq!(events.take(), ["left mcp://10.0.0.0:1"]);
}

#[tokio::test(start_paused = true)]
async fn the_handle_shows_each_endpoint() {
    let servers = Server::many(2);
    let balance = fixed(&servers, config(|_| ()));
    let handle = balance.handle();
    assert!(handle.endpoints().iter().all(|view| view.latency.is_none() && view.takes_calls));
    for _ in 0..50 {
        call(&balance).await.unwrap();
    }
    let mut under_way = task::spawn(balance.clone().oneshot(request()));
    assert_pending!(under_way.poll());
    let views = handle.endpoints();
    assert_eq!(views.iter().map(|view| view.picks).sum::<u64>(), 51);
    assert_eq!(views.iter().map(|view| view.in_flight).sum::<u32>(), 1);
    for (view, server) in views.iter().zip(&servers) {
        assert_eq!((view.picks, view.status), (server.calls(), EndpointStatus::Ready));
        let latency = view.latency.unwrap();
        assert!((ms(10)..ms(12)).contains(&latency), "{latency:?}");
        assert_eq!((view.failures, view.reported), (0.0, None));
    }
}

// What is not an endpoint's fault.

#[tokio::test(start_paused = true)]
async fn who_fails_as_all_the_others_do_is_not_taken_out() {
    let (servers, events) = (Server::many(5), Events::default());
    for server in &servers {
        server.answers(Answers::BadlyAtTimes(60), ms(1));
    }
    let balancer = Balancer::new(config(|_| ())).honour_context().observe(events.observer());
    let balance = balancer.fixed(servers.iter().map(Server::endpoint), Servers::new(&servers));
    let load = async |time| load(&balance, 10, ms(time)).await;
    events.take();
    load(1_000).await;
    events.take();
    let state = servers[1].endpoint();
    let state = state.state();
    let until = || Some(Instant::now() + ms(60_000));
    state.ask_ejection(until());
    load(10).await;
    assert_eq!(events.take(), ["refused mcp://10.0.0.1:1"], "{:#?}", balance.handle().endpoints());

    // The others recover, and this one does not.
    state.set_ready();
    for server in servers.iter().filter(|server| server.0.number != 1) {
        server.answers(Answers::Well, ms(1));
    }
    load(10_000).await;
    state.ask_ejection(until());
    load(10).await;
    assert_eq!(events.take(), ["ejected mcp://10.0.0.1:1"], "{:#?}", balance.handle().endpoints());
}

#[tokio::test(start_paused = true)]
async fn an_error_is_passed_on() {
    let servers = Server::many(1);
    servers[0].answers(Answers::Badly, ms(1));
    let balance = fixed(&servers, config(|_| ()));
    let error = balance.clone().oneshot(request()).await.unwrap_err();
    assert_eq!(Error::find(&*error).unwrap().kind(), ErrorKind::HandlerFailed);
    assert!((0.12..0.13).contains(&balance.handle().endpoints()[0].failures));
}

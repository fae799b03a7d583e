//! Answers that say how much is in work.
#![allow(clippy::unwrap_used)]

use std::{convert::Infallible, time::Duration};
use tokio::{sync::oneshot, time::advance};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, ServiceExt, service_fn};
use tower_service::Service;
use towpath_core::{Clock, LoadReport, Request, Response};
use towpath_limit::ReportLoadLayer;

type Answer = Result<Response<()>, Infallible>;

fn report(answer: &Response<()>) -> LoadReport {
    answer.metadata().get_str(LoadReport::KEY).unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn it_counts_what_is_in_work_and_says_how_long_a_call_has_waited() {
    let layer = ReportLoadLayer::new();
    let handler = service_fn(|request: Request<oneshot::Receiver<()>>| async move {
        let _ = request.into_body().await;
        Answer::Ok(Response::new(()))
    });
    let (mut service, mut other) = (layer.layer(handler), layer.clone().layer(handler));
    let (go, gate) = oneshot::channel();
    let mut request = Request::new("A.B", gate);
    Clock::start(&mut request);
    advance(Duration::from_millis(7)).await;
    let mut first = task::spawn(service.call(request));
    let (_kept, gate) = oneshot::channel();
    let mut second = task::spawn(other.call(Request::new("A.B", gate)));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    assert_eq!(layer.in_flight(), 2);
    go.send(()).unwrap();
    let answer = assert_ready!(first.poll()).unwrap();
    assert_eq!(report(&answer), LoadReport { queue: Duration::from_millis(7), in_flight: 2 });
    assert_eq!(layer.in_flight(), 1);
    // Who gives up is not in work any more.
    drop(second);
    assert_eq!(layer.in_flight(), 0);
}

#[tokio::test]
async fn a_report_of_a_service_further_down_stays() {
    let said = LoadReport { queue: Duration::from_micros(1), in_flight: 99 };
    let handler = service_fn(move |_: Request<()>| async move {
        let mut response = Response::new(());
        response.metadata_mut().insert(LoadReport::KEY, said.to_string()).unwrap();
        Answer::Ok(response)
    });
    let answer = ReportLoadLayer::new().layer(handler).oneshot(Request::new("A.B", ())).await.unwrap();
    assert_eq!(report(&answer), said);
}

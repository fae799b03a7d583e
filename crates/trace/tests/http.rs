//! Around axum and its like: the trace is in headers.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use axum::{
    Router,
    body::Body,
    extract::MatchedPath,
    http::{Request, StatusCode},
    routing::get,
};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};
use tower::{Layer, ServiceExt, service_fn};
use towpath_core::{
    Context, HasContext,
    context::{TraceContext, current_trace},
};
use towpath_trace::{Baggage, Http, Recorded, Role, TraceConfig, TraceLayer, Value};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn config(sample: f64) -> TraceConfig {
    TraceConfig::sampled(sample).unwrap()
}

fn to(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let build =
        headers.iter().fold(Request::builder().uri(path), |all, (name, value)| all.header(*name, *value));
    build.body(Body::empty()).unwrap()
}

type Seen = (Role, String, bool, Vec<(String, String)>);

fn note(log: &Arc<Mutex<Vec<Seen>>>) -> impl Fn(&Recorded<'_>) + Clone + Send + Sync + use<> {
    let log = log.clone();
    move |recorded: &Recorded<'_>| {
        let mut attributes = Vec::new();
        recorded.attributes(|name, value| {
            let value = match value {
                Value::Str(text) => text.to_owned(),
                Value::Int(number) => number.to_string(),
                value => format!("{value:?}"),
            };
            attributes.push((name.to_owned(), value));
        });
        let (name, is_error) = (recorded.name.to_owned(), recorded.outcome.is_error);
        log.lock().unwrap().push((recorded.role, name, is_error, attributes));
    }
}

/// What a handler is in.
async fn handler() -> String {
    let before = current_trace().unwrap();
    tokio::task::yield_now().await;
    assert_eq!(current_trace(), Some(before));
    let baggage = Baggage::current().get("user").unwrap_or_default().to_owned();
    format!(
        "{} {} {baggage}",
        String::from_utf8_lossy(&before.traceparent()),
        Context::inherit().deadline().is_some()
    )
}

#[tokio::test]
async fn a_server_goes_on_with_what_came() {
    let app = Router::new().route("/", get(handler)).layer(TraceLayer::server(config(0.0)).over_http());
    let answer = async |request: Request<Body>| {
        let Ok(response) = app.clone().oneshot(request).await;
        let body = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    };
    let own = answer(to("/", &[("traceparent", PARENT), ("baggage", "user=ada")])).await;
    assert!(own.starts_with(&PARENT[..36]) && own.ends_with("-01 false ada"), "{own}");
    assert_ne!(own[..52], PARENT[..52]);
    let mut due = to("/", &[("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0")]);
    due.extensions_mut().get_or_insert_with(Context::new).set_deadline(Some(tokio::time::Instant::now()));
    let own = answer(due).await;
    assert!(own.starts_with("00-80f198ee56343ba864fe8b2a57d3eff7-") && own.ends_with("-00 true "), "{own}");
    assert_eq!(current_trace(), None);
}

#[tokio::test]
async fn a_client_writes_it_and_each_attempt_its_own() {
    let seen = service_fn(|request: Request<Body>| async move {
        let header = request.headers()["traceparent"].clone();
        let own = HasContext::context(&request).unwrap().trace().unwrap();
        assert_eq!(header.as_bytes(), own.traceparent());
        Ok::<_, Infallible>(axum::http::Response::new(header))
    });
    let attempt = TraceLayer::attempt(config(0.0)).over_http().layer(seen);
    let client =
        TraceLayer::client(config(1.0)).over_http().layer(service_fn(move |request: Request<Body>| {
            let call = request.headers()["traceparent"].clone();
            let attempt = attempt.clone();
            async move {
                let Ok(response) = attempt.oneshot(request).await;
                assert_ne!(*response.body(), call);
                Ok::<_, Infallible>(response)
            }
        }));
    let Ok(response) = client.oneshot(to("/", &[("traceparent", "of somebody else")])).await;
    let last = TraceContext::parse_traceparent(response.body().as_bytes()).unwrap();
    assert!(last.is_sampled());
}

#[tokio::test]
async fn spans_say_what_the_conventions_of_http_want() {
    let log = Arc::default();
    let layer = |layer: TraceLayer| {
        layer
            .describe_by(
                Http::new().route(|extensions| extensions.get::<MatchedPath>().map(MatchedPath::as_str)),
            )
            .observe(note(&log))
    };
    let app = Router::new()
        .route("/orders/{id}", get(|| async { "one" }))
        .route("/broken", get(|| async { StatusCode::SERVICE_UNAVAILABLE }))
        .route_layer(layer(TraceLayer::server(config(1.0))));
    let client = layer(TraceLayer::client(config(1.0))).layer(app);
    let call = async |path: &str| {
        let request = to(path, &[("host", "shop.example:8080")]);
        let _ = client.clone().oneshot(request).await;
        std::mem::take(&mut *log.lock().unwrap())
    };
    let of = |seen: &Seen, name: &str| {
        seen.3.iter().find(|(key, _)| key == name).map_or(String::new(), |(_, value)| value.clone())
    };
    let [server, caller] = <[Seen; 2]>::try_from(call("/orders/7?x=1").await).unwrap();
    assert_eq!(
        (server.0, &*server.1, caller.0, &*caller.1),
        (Role::Server, "GET /orders/{id}", Role::Client, "GET")
    );
    for seen in [&server, &caller] {
        assert_eq!(
            (of(seen, "http.request.method"), of(seen, "url.path")),
            ("GET".into(), "/orders/7".into())
        );
        assert_eq!(
            (of(seen, "server.address"), of(seen, "server.port")),
            ("shop.example".into(), "8080".into())
        );
        assert_eq!((of(seen, "http.response.status_code"), seen.2), ("200".into(), false));
    }
    assert_eq!(of(&server, "http.route"), "/orders/{id}");
    for seen in call("/broken").await {
        assert_eq!(
            (of(&seen, "http.response.status_code"), of(&seen, "error.type"), seen.2),
            ("503".into(), "503".into(), true)
        );
    }
}

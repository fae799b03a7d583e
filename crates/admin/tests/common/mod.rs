//! What the tests share: HTTP over a socket, and a service to be looked at.
#![allow(dead_code)]

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request as HttpRequest, Response as HttpResponse, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use towpath_admin::{Admin, RecordConfig, Recorder, Step, Target};
use towpath_breaker::{BreakerConfig, BreakerLayer, Breakers};
use towpath_core::{BoxError, Error, ErrorKind, Fault, Request, Response};
use towpath_retry::{RetryConfig, RetryLayer};

/// A request to a server.
pub(crate) struct Ask {
    pub(crate) address: SocketAddr,
    pub(crate) builder: hyper::http::request::Builder,
    pub(crate) body: String,
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Ask {
    let builder = HttpRequest::get(path).header("host", address.to_string());
    Ask { address, builder, body: String::new() }
}

pub(crate) fn post(address: SocketAddr, path: &str, body: &str) -> Ask {
    let builder = HttpRequest::post(path).header("host", address.to_string());
    Ask { address, builder, body: body.to_owned() }
}

impl Ask {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.builder
            .headers_mut()
            .unwrap()
            .insert(hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        self
    }

    pub(crate) async fn open(self) -> HttpResponse<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(self.builder.body(Full::new(Bytes::from(self.body))).unwrap()).await.unwrap()
    }

    pub(crate) async fn send(self) -> (u16, hyper::HeaderMap, String) {
        let response = self.open().await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), head.headers, String::from_utf8_lossy(&body).into_owned())
    }

    pub(crate) async fn json(self) -> (u16, Value) {
        let (status, _, body) = self.send().await;
        (status, serde_json::from_str(&body).unwrap_or_else(|why| panic!("{why}: {body}")))
    }
}

/// An admin interface that is served on loopback.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) serving: JoinHandle<std::io::Result<()>>,
}

pub(crate) async fn serve(admin: Admin) -> Served {
    let serving = admin.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, (stop, stopped)) = (serving.local_addr(), oneshot::channel::<()>());
    let serving = tokio::spawn(serving.until(async {
        let _ = stopped.await;
    }));
    Served { address, stop, serving }
}

/// A client's stack around a service that answers as its method says.
#[derive(Clone)]
pub(crate) struct Rig {
    pub(crate) stack: BoxCloneSyncService<Request, Response, BoxError>,
    pub(crate) recorder: Recorder,
    pub(crate) breakers: Breakers,
    pub(crate) target: Target,
}

pub(crate) fn rig() -> Rig {
    let recorder = Recorder::new(RecordConfig::default().with_sample(0.0).unwrap());
    let breaker = BreakerLayer::new(BreakerConfig::prompt()).per_method().honour_context();
    let retry = RetryLayer::new(RetryConfig::default()).honour_context();
    let breakers = breaker.handle();
    let target = Target::client()
        .stack(["DeadlineLayer", "CallsLayer", "BreakerLayer", "RetryLayer", "AttemptsLayer"].map(Step::new))
        .recorder(recorder.clone())
        .breakers(breakers.clone())
        .retry(retry.handle());
    let stack = ServiceBuilder::new()
        .layer(recorder.calls())
        .layer(breaker)
        .layer(retry)
        .layer(recorder.attempts())
        .service(service_fn(answer));
    Rig { stack: BoxCloneSyncService::new(stack), recorder, breakers, target }
}

async fn answer(request: Request) -> Result<Response, Error> {
    match request.method().as_str() {
        "Shop.Refuse" => {
            let fault =
                Fault::new(towpath_core::ErrorCode::from_static("SHP-E-001"), "<b>no & such</b> article");
            let fault = fault.with_cause(towpath_core::ErrorCode::from_static("SHP-E-002"));
            Ok(fault.into_response(request.codec()))
        }
        "Shop.Lose" => {
            let source = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset by peer");
            Err(Error::new(ErrorKind::ConnectionLost).at("mcp://10.0.0.7:8080").with_source(source))
        }
        "Shop.Linger" => {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            Ok(Response::new(Bytes::new()))
        }
        "Shop.Wait" => std::future::pending().await,
        _ => Ok(Response::new(Bytes::new())),
    }
}

impl Rig {
    pub(crate) async fn call(&mut self, method: &'static str) -> Result<Response, BoxError> {
        let mut request = Request::new(method, Bytes::from_static(b"secret body"));
        request.metadata_mut().insert("tenant", "secret tenant").unwrap();
        request.context_mut().set_idempotent(true);
        self.stack.ready().await?.call(request).await
    }
}

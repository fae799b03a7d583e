//! A collector in this process: takes spans by OTLP, and keeps them.

#![allow(dead_code)] // not all tests use all of it

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, Span},
};
use prost::Message;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    net::TcpListener,
    sync::{OwnedRwLockWriteGuard, RwLock},
};
use tonic::{Response, Status, transport::server::TcpIncoming};
use towpath_trace::otel::OtlpProtocol;

/// The headers of a request, and what was in it.
type Arrived = (HeaderMap, Vec<ResourceSpans>);

#[derive(Clone, Default)]
struct Kept {
    arrived: Arc<Mutex<Vec<Arrived>>>,
    /// Who writes holds all requests up.
    open: Arc<RwLock<()>>,
}

impl Kept {
    async fn put(&self, headers: HeaderMap, request: ExportTraceServiceRequest) {
        let _open = self.open.read().await;
        self.arrived.lock().unwrap().push((headers, request.resource_spans));
    }
}

pub(crate) struct Collector {
    address: SocketAddr,
    kept: Kept,
    seen: Mutex<Vec<Arrived>>,
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        self.put(headers, request.into_inner()).await;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn take(State(kept): State<Kept>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    kept.put(headers, ExportTraceServiceRequest::decode(body).unwrap()).await;
    ExportTraceServiceResponse::default().encode_to_vec()
}

impl Collector {
    pub(crate) async fn start(protocol: OtlpProtocol) -> Self {
        Collector::start_at(protocol, ([127, 0, 0, 1], 0).into()).await
    }

    pub(crate) async fn start_at(protocol: OtlpProtocol, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Kept::default();
        match protocol {
            OtlpProtocol::Grpc => {
                let server =
                    tonic::transport::Server::builder().add_service(TraceServiceServer::new(kept.clone()));
                tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
            }
            _ => {
                let app = Router::new().route("/v1/traces", post(take)).with_state(kept.clone());
                tokio::spawn(axum::serve(listener, app).into_future());
            }
        }
        Collector { address, kept, seen: Mutex::default() }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// It takes nothing and answers nobody, until what this gives is dropped.
    pub(crate) async fn hold(&self) -> OwnedRwLockWriteGuard<()> {
        self.kept.open.clone().write_owned().await
    }

    /// What has arrived since it was last asked.
    pub(crate) fn take(&self) -> Vec<Span> {
        let arrived = std::mem::take(&mut *self.kept.arrived.lock().unwrap());
        let groups = arrived.iter().flat_map(|(_, groups)| groups);
        let spans =
            groups.flat_map(|group| &group.scope_spans).flat_map(|scope| scope.spans.clone()).collect();
        self.seen.lock().unwrap().extend(arrived);
        spans
    }

    /// What the last one said of its service.
    pub(crate) fn resource(&self) -> BTreeMap<String, String> {
        let seen = self.seen.lock().unwrap();
        let resource = seen.last().unwrap().1[0].resource.clone().unwrap();
        resource.attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
    }

    /// A header of the last request.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let seen = self.seen.lock().unwrap();
        Some(seen.last()?.0.get(name)?.to_str().unwrap().to_owned())
    }
}

/// The value of an attribute, as text.
pub(crate) fn attribute(span: &Span, name: &str) -> Option<String> {
    span.attributes.iter().find(|attribute| attribute.key == name).map(text)
}

fn text(attribute: &KeyValue) -> String {
    match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        other => format!("{other:?}"),
    }
}

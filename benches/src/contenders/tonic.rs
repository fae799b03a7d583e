//! tonic: gRPC over HTTP/2.
//!
//! Its best: bodies go through as they are (a codec of its own in place of Protobuf), no Nagle, windows and frames
//! that a body of 64 KiB fits into.

use super::{Caller, Contender};
use crate::Failure;
use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    body::Body,
    client,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{self, NamedService, UnaryService},
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tower_service::Service;

/// See the [module](self).
#[derive(Debug)]
pub struct Tonic;

const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
const FRAME: u32 = 128 << 10;

impl Contender for Tonic {
    type Caller = client::Grpc<Channel>;

    async fn serve(listener: TcpListener) -> Result<(), Failure> {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .max_concurrent_streams(4096)
            .add_service(Echo)
            .serve_with_incoming(incoming)
            .await?;
        Ok(())
    }

    async fn connect(address: SocketAddr, callers: usize) -> Result<Vec<Self::Caller>, Failure> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .connect()
            .await?;
        Ok(vec![client::Grpc::new(channel); callers])
    }
}

impl Caller for client::Grpc<Channel> {
    async fn call(&mut self, body: Bytes) -> Result<usize, Failure> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/Echo/Echo");
        let response = self.unary(Request::new(body), path, Raw).await?;
        Ok(response.into_inner().len())
    }
}

/// Bytes as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, body: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(body);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// What the code that tonic generates looks like.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async { Ok(server::Grpc::new(Raw).unary(Echo, request).await) })
    }
}

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}

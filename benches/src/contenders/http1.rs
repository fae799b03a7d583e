//! axum, called by hyper: HTTP/1.1.
//!
//! Its best: a connection for every caller, which HTTP/1.1 cannot share, and no pool that a call has to go through; no
//! Nagle.

use super::{Caller, Contender};
use crate::Failure;
use axum::{Router, routing::post, serve::ListenerExt};
use bytes::Bytes;
use http::header::HOST;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

/// See the [module](self).
#[derive(Debug)]
pub struct Axum;

impl Contender for Axum {
    type Caller = SendRequest<Full<Bytes>>;

    async fn serve(listener: TcpListener) -> Result<(), Failure> {
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let router = Router::new().route("/echo", post(|body: Bytes| async move { body }));
        Ok(axum::serve(listener, router).await?)
    }

    async fn connect(address: SocketAddr, callers: usize) -> Result<Vec<Self::Caller>, Failure> {
        let mut connections = Vec::new();
        for _ in 0..callers {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            connections.push(sender);
        }
        Ok(connections)
    }
}

impl Caller for SendRequest<Full<Bytes>> {
    async fn call(&mut self, body: Bytes) -> Result<usize, Failure> {
        self.ready().await?;
        let request = http::Request::post("/echo").header(HOST, "localhost").body(Full::new(body))?;
        let response = self.send_request(request).await?;
        Ok(response.into_body().collect().await?.to_bytes().len())
    }
}

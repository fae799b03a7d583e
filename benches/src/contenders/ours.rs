//! towpath, bare to armoured.

use super::{Caller, Contender};
use crate::{
    Failure, armour,
    service::{Echo, METHOD},
};
use bytes::Bytes;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tower::{Service, ServiceExt};
use towpath::{Client, Raw, Router};
use towpath_core::{BoxError, Request, Response};
use towpath_transport::{Address, ClientConfig, Connection, Server, ServerConfig};

/// The transport, with tower services on both sides.
#[derive(Debug)]
pub struct Bare;

/// The facade as it comes: [`Client`] with its deadline and its reconnects, and a [`Router`].
#[derive(Debug)]
pub struct Facade;

/// The facade with everything on, on both sides: see [`armour`].
#[derive(Debug)]
pub struct Armoured;

impl Contender for Bare {
    type Caller = Connection;

    async fn serve(listener: TcpListener) -> Result<(), Failure> {
        Ok(Server::from_listener(listener, ServerConfig::default())?.serve(Echo).await?)
    }

    async fn connect(address: SocketAddr, callers: usize) -> Result<Vec<Connection>, Failure> {
        let connection = Connection::connect(&Address::from(address), &ClientConfig::default()).await?;
        Ok(vec![connection; callers])
    }
}

impl Contender for Facade {
    type Caller = Client;

    async fn serve(listener: TcpListener) -> Result<(), Failure> {
        let router: Router = Router::new().route(METHOD, |raw: Raw| async move { raw });
        Ok(towpath::Server::builder().listener(listener)?.serve(router).await?)
    }

    async fn connect(address: SocketAddr, callers: usize) -> Result<Vec<Client>, Failure> {
        let client = Client::connect(format!("mcp://{address}")).await?;
        Ok(vec![client; callers])
    }
}

impl Contender for Armoured {
    type Caller = Client;

    async fn serve(listener: TcpListener) -> Result<(), Failure> {
        armour::spans_have_a_subscriber();
        let router: Router = Router::new().route(METHOD, |raw: Raw| async move { raw });
        Ok(armour::server().listener(listener)?.serve(router).await?)
    }

    async fn connect(address: SocketAddr, callers: usize) -> Result<Vec<Client>, Failure> {
        armour::spans_have_a_subscriber();
        let client = armour::client(address)?;
        client.ready().await?;
        Ok(vec![client; callers])
    }
}

impl Caller for Connection {
    async fn call(&mut self, body: Bytes) -> Result<usize, Failure> {
        echo(self, body).await
    }
}

impl Caller for Client {
    async fn call(&mut self, body: Bytes) -> Result<usize, Failure> {
        echo(self, body).await
    }
}

async fn echo<S>(service: &mut S, body: Bytes) -> Result<usize, Failure>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>>,
{
    let ready = service.ready().await.map_err(Into::into)?;
    let response = ready.call(Request::new(METHOD, body)).await.map_err(Into::into)?;
    Ok(response.body().len())
}

//! The multiplexer that does nothing else.

use super::{Caller, Contender};
use crate::{
    Failure,
    reference::{Connection, serve},
};
use bytes::Bytes;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// See [`reference`](crate::reference).
#[derive(Debug)]
pub struct Reference;

impl Contender for Reference {
    type Caller = Connection;

    async fn serve(listener: TcpListener) -> Result<(), Failure> {
        Ok(serve(listener).await?)
    }

    async fn connect(address: SocketAddr, callers: usize) -> Result<Vec<Connection>, Failure> {
        let connection = Connection::connect(address).await?;
        Ok(vec![connection; callers])
    }
}

impl Caller for Connection {
    async fn call(&mut self, body: Bytes) -> Result<usize, Failure> {
        Ok(Connection::call(self, body).await?.len())
    }
}

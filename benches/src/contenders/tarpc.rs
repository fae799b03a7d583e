//! tarpc over TCP.
//!
//! Its best: bincode, the body as one string of bytes, no Nagle, queues that hold every call in flight.

use super::{Caller, Contender};
use crate::Failure;
use bytes::Bytes;
use futures_util::StreamExt;
use std::net::SocketAddr;
use tarpc::{
    client::Config,
    context,
    server::{BaseChannel, Channel},
    tokio_serde::formats::Bincode,
    tokio_util::codec::{Framed, LengthDelimitedCodec},
};
use tokio::net::{TcpListener, TcpStream};

/// See the [module](self).
#[derive(Debug)]
pub struct Tarpc;

/// More than there are calls in flight.
const QUEUE: usize = 4096;

#[tarpc::service]
trait Echo {
    async fn echo(body: Bytes) -> Bytes;
}

/// Calls one server.
#[derive(Clone)]
pub struct Client(EchoClient);

#[derive(Clone)]
struct Answer;

impl Echo for Answer {
    async fn echo(self, _: context::Context, body: Bytes) -> Bytes {
        body
    }
}

fn framed(stream: TcpStream) -> Framed<TcpStream, LengthDelimitedCodec> {
    LengthDelimitedCodec::builder().max_frame_length(16 << 20).new_framed(stream)
}

impl Contender for Tarpc {
    type Caller = Client;

    async fn serve(listener: TcpListener) -> Result<(), Failure> {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let transport = tarpc::serde_transport::new(framed(stream), Bincode::default());
            let config = tarpc::server::Config { pending_response_buffer: QUEUE };
            let calls = BaseChannel::new(config, transport).execute(Answer.serve());
            tokio::spawn(calls.for_each(|call| async {
                tokio::spawn(call);
            }));
        }
    }

    async fn connect(address: SocketAddr, callers: usize) -> Result<Vec<Client>, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let transport = tarpc::serde_transport::new(framed(stream), Bincode::default());
        let mut config = Config::default();
        config.max_in_flight_requests = QUEUE;
        config.pending_request_buffer = QUEUE;
        Ok(vec![Client(EchoClient::new(config, transport).spawn()); callers])
    }
}

impl Caller for Client {
    async fn call(&mut self, body: Bytes) -> Result<usize, Failure> {
        Ok(self.0.echo(context::current(), body).await?.len())
    }
}

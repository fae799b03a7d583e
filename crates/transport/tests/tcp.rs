//! TCP: addresses of both families, names with several addresses.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use std::{
    future::IntoFuture,
    io::{self, Write},
    net::{Shutdown, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::{Service, ServiceExt, service_fn};
use towpath_codec::{GoAway, GoAwayReason, kind};
use towpath_core::{BoxError, ErrorKind, Processed, Request, Response};
use towpath_transport::{Address, BindOptions, BindTo, ClientConfig, Connection, Server, ServerConfig};

async fn echo(request: Request) -> Result<Response, BoxError> {
    Ok(Response::new(request.into_body()))
}

async fn serve(to: impl Into<BindTo>) -> std::io::Result<(Address, u16)> {
    let server = Server::bind(to, ServerConfig::default()).await?;
    let (address, port) = (server.address().clone(), server.local_addr()?.port());
    tokio::spawn(server.serve(service_fn(echo)).into_future());
    Ok((address, port))
}

async fn call(address: &Address) {
    let mut connection = Connection::connect(address, &ClientConfig::default()).await.unwrap();
    let request = Request::new("Echo.Echo", Bytes::from_static(b"hello"));
    let answer = connection.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(&answer.body()[..], b"hello");
}

#[tokio::test]
async fn everything_that_says_where_to_listen() {
    let localhost = SocketAddr::from(([127, 0, 0, 1], 0));
    for to in [
        BindTo::from("127.0.0.1:0"),
        "mcp://127.0.0.1:0".into(),
        "localhost:0".to_owned().into(),
        "mcp://localhost:0".into(),
        Address::new("127.0.0.1", 0).into(),
        localhost.into(),
        [localhost][..].into(),
        (localhost.ip(), 0).into(),
        ("127.0.0.1", 0).into(),
    ] {
        let (address, port) = serve(to).await.unwrap();
        assert_eq!(address.port(), Some(port));
        call(&address).await;
    }
    for bad in ["nowhere", "http://a:80", "mcp+unix:relative", "127.0.0.1"] {
        let error = Server::bind(bad, ServerConfig::default()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    }
}

#[tokio::test]
async fn ipv6() {
    match serve("mcp://[::1]:0").await {
        Ok((address, port)) => {
            assert_eq!(address.to_string(), format!("mcp://[::1]:{port}"));
            call(&address).await;
        }
        Err(error) => println!("this machine has no IPv6, so only the address is tested: {error}"),
    }
}

/// `localhost` is `::1` first on most machines, where nobody listens.
#[tokio::test]
async fn a_name_leads_to_the_address_that_answers() {
    let (_, port) = serve("127.0.0.1:0").await.unwrap();
    call(&Address::new("localhost", port)).await;
}

#[tokio::test]
async fn why_nobody_is_reached_is_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = ClientConfig::default();
    let error = Connection::connect(&free.into(), &config).await.unwrap_err();
    assert_eq!((error.kind(), error.processed()), (ErrorKind::ConnectFailed, Processed::No));
    let text = error.to_string();
    assert!(text.contains("nobody listens there") && text.contains(&format!("mcp://{free}")), "{text}");

    let error = Connection::connect(&Address::new("no-such-host.invalid", 80), &config).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("looked up") && text.contains("mcp://no-such-host.invalid:80"), "{text}");
}

#[tokio::test]
async fn a_port_is_shared_only_when_all_ask_for_it() {
    let bind = |to: SocketAddr, reuse| {
        Server::bind_with(to, BindOptions::new().reuse_port(reuse), ServerConfig::default())
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let alone = bind(any, false).await.unwrap();
    assert!(bind(alone.local_addr().unwrap(), true).await.is_err());
    let one = bind(any, true).await.unwrap();
    let port = one.local_addr().unwrap();
    assert!(bind(port, false).await.is_err());
    let other = bind(port, true).await.unwrap();
    for server in [one, other] {
        tokio::spawn(server.serve(service_fn(echo)).into_future());
    }
    for _ in 0..20 {
        tokio::time::timeout(Duration::from_secs(20), call(&port.into())).await.unwrap();
    }
}

/// Whoever starts a server at night reads where it did not listen, and why.
#[tokio::test]
async fn what_cannot_be_listened_on_is_told_with_the_place_and_the_reason() {
    let taken = Server::bind("127.0.0.1:0", ServerConfig::default()).await.unwrap();
    let taken = taken.local_addr().map(|at| (taken, at)).unwrap();
    let tls = if cfg!(feature = "tls") { "TLS needs a certificate" } else { "turn on the feature `tls`" };
    for (to, kind, why) in [
        (taken.1.to_string(), io::ErrorKind::AddrInUse, "another program listens there"),
        ("192.0.2.1:0".to_owned(), io::ErrorKind::AddrNotAvailable, "no interface of this machine"),
        ("localhost".to_owned(), io::ErrorKind::InvalidInput, "as in 127.0.0.1:8080"),
        ("mcps://127.0.0.1:0".to_owned(), io::ErrorKind::InvalidInput, tls),
        ("http://127.0.0.1:0".to_owned(), io::ErrorKind::InvalidInput, "the scheme is none of"),
    ] {
        let error = Server::bind(&to, ServerConfig::default()).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.starts_with(&format!("cannot listen on {to}: ")) && text.contains(why), "{text}");
        assert_eq!(text.matches(&to).count(), 1, "{text}");
    }
}

/// At the limit, a connection that has ended makes room at once.
#[tokio::test]
async fn a_connection_that_has_ended_does_not_count() {
    let config = ServerConfig { max_connections: 1, ..ServerConfig::default() };
    let server = Server::bind("127.0.0.1:0", config).await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(server.serve(service_fn(echo)).into_future());
    // GOAWAY, by which a caller says that it has finished; the server ends the connection.
    let goaway = GoAway { reason: GoAwayReason::Draining, last_id: 0, text: String::new() };
    let mut finished = Vec::new();
    towpath_codec::put_goaway(&mut finished, &goaway);
    let mut ping = Vec::new();
    towpath_codec::put_short(&mut ping, kind::PING, 7);
    let mut socket = TcpStream::connect(address).await.unwrap();
    for round in 0..50 {
        socket.write_all(&ping).await.unwrap();
        let mut heard = vec![0; ping.len()];
        socket.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard[3], kind::PONG, "round {round}: it is sent away");
        // Both without a pause for the server, which finds an end and a beginning at the same time.
        let mut old = socket.into_std().unwrap();
        old.write_all(&finished).unwrap();
        old.shutdown(Shutdown::Both).unwrap();
        let next = std::net::TcpStream::connect(address).unwrap();
        next.set_nonblocking(true).unwrap();
        socket = TcpStream::from_std(next).unwrap();
    }
}

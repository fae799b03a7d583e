//! `mcps://`: what goes through, who gets in, and what is said to those who do not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod pki;

use bytes::Bytes;
use pki::{Ca, Identity, When};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::{RootCertStore, crypto::ring, pki_types::pem::PemObject, version::TLS13};
use std::{future::IntoFuture, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tower::{Service, ServiceExt, service_fn};
use towpath_codec::{FrameHeader, GoAwayReason, HEADER_LEN, kind};
use towpath_core::{BoxError, Error, ErrorKind, Processed, Request, Response};
use towpath_transport::{
    Address, BindOptions, ClientAuth, ClientConfig, ClientTls, ClientTlsBuilder, Connection, Connector, Peer,
    Server, ServerConfig, ServerTls, ServerTlsBuilder,
};

/// Fails a test that hangs.
async fn soon<F: IntoFuture>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future).await.expect("it hangs")
}

/// `Echo` gives the body back, `Who` what is known of the caller, `Never` nothing.
async fn handle(request: Request) -> Result<Response, BoxError> {
    match request.method().as_str() {
        "Test.Who" => {
            let peer = request.extensions().get::<Peer>();
            let text = peer.map_or("nobody".to_owned(), |peer| {
                assert!(peer.address().unwrap().ip().is_loopback());
                let names = [peer.dns_names(), peer.uris()].concat().join(" ");
                format!("{} {} {names}", peer.is_verified(), peer.certificates().len())
            });
            Ok(Response::new(text.into()))
        }
        "Test.Never" => std::future::pending().await,
        _ => Ok(Response::new(request.into_body())),
    }
}

struct Serving {
    port: u16,
    drain: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl Serving {
    /// By a name that all test certificates are for, unless the test is about names.
    fn address(&self) -> Address {
        Address::tls("localhost", self.port)
    }
}

async fn serve_with(tls: &ServerTls, config: ServerConfig) -> Serving {
    let options = BindOptions::new().tls(tls.clone());
    let server = Server::bind_with("mcps://127.0.0.1:0", options, config).await.unwrap();
    let port = server.local_addr().unwrap().port();
    assert_eq!(server.address(), &Address::tls("127.0.0.1", port));
    let (drain, drained) = oneshot::channel();
    let serving = server.serve(service_fn(handle)).with_graceful_shutdown(async {
        let _ = drained.await;
    });
    Serving { port, drain, task: tokio::spawn(serving.into_future()) }
}

async fn serve(tls: ServerTlsBuilder) -> Serving {
    serve_with(&tls.build().unwrap(), ServerConfig::default()).await
}

fn server_tls(identity: &Identity) -> ServerTlsBuilder {
    ServerTls::builder().identity_pem(&identity.pem, &identity.key)
}

fn trust(ca: &Ca) -> ClientTlsBuilder {
    ClientTls::builder().ca_pem(&ca.pem)
}

async fn connect(tls: ClientTlsBuilder, address: &Address) -> Result<Connection, Error> {
    let connector = Connector::new(ClientConfig::default()).with_tls(tls.build().unwrap());
    soon(connector.connect(address)).await
}

async fn call(connection: &Connection, method: &'static str, body: Bytes) -> Result<Bytes, Error> {
    let mut connection = connection.clone();
    let call = soon(connection.ready()).await?.call(Request::new(method, body));
    Ok(soon(call).await?.into_body())
}

async fn who(tls: ClientTlsBuilder, address: &Address) -> String {
    let connection = connect(tls, address).await.unwrap();
    String::from_utf8(call(&connection, "Test.Who", Bytes::new()).await.unwrap().to_vec()).unwrap()
}

/// Not let in, with these words, and the address.
#[track_caller]
fn assert_refused(error: &Error, kind: ErrorKind, words: &[&str], address: &Address) {
    assert_eq!((error.kind(), error.processed()), (kind, Processed::No), "{error}");
    let text = error.to_string();
    assert!(text.contains(&address.to_string()), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

#[tokio::test]
async fn calls_of_all_sizes_many_at_a_time() {
    let ca = Ca::new("ca");
    let serving = serve(server_tls(&ca.server(&["localhost"]))).await;
    let connection = connect(trust(&ca), &serving.address()).await.unwrap();
    let sizes = [0, 1, 511, 9_000, 16_384, 70_000, 1_000_000, 12_000_000];
    let calls: Vec<_> = (0..48usize)
        .map(|n| {
            let connection = connection.clone();
            let body = Bytes::from(vec![n as u8; sizes[n % 7]]);
            tokio::spawn(async move { (call(&connection, "Test.Echo", body.clone()).await.unwrap(), body) })
        })
        .collect();
    for call in calls {
        let (got, sent) = call.await.unwrap();
        assert!(got == sent, "{} bytes", sent.len());
    }
    let body = Bytes::from(vec![9; sizes[7]]);
    assert!(call(&connection, "Test.Echo", body.clone()).await.unwrap() == body);
    assert_eq!(who(trust(&ca), &serving.address()).await, "false 0 ", "nobody was asked for a certificate");
}

#[tokio::test]
async fn a_server_s_bad_certificate_is_told_in_words() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    for (identity, words) in [
        (
            ca.issue(&["localhost"], When::Past, server.clone()),
            &["the server expired", "days ago: renew it"][..],
        ),
        (ca.issue(&["localhost"], When::Future, server), &["is not valid yet, but in", "check the clocks"]),
        (other.server(&["localhost"]), &["signed by no CA that is trusted here", "check the CA file"]),
        (ca.server(&["orders", "10.0.0.1"]), &["is for orders, 10.0.0.1, not for localhost", "server name"]),
        (ca.client(&["localhost"]), &["not one for servers"]),
    ] {
        let serving = serve(server_tls(&identity)).await;
        let address = serving.address();
        let error = connect(trust(&ca), &address).await.unwrap_err();
        assert_refused(&error, ErrorKind::ConnectFailed, words, &address);
    }
}

#[tokio::test]
async fn a_name_is_that_of_the_address_or_the_one_that_was_set() {
    let ca = Ca::new("ca");
    let serving = serve(server_tls(&ca.server(&["orders", "127.0.0.1"]))).await;
    let by_ip = Address::tls("127.0.0.1", serving.port);
    assert_eq!(who(trust(&ca), &by_ip).await, "false 0 ");
    assert!(connect(trust(&ca), &serving.address()).await.is_err());
    assert_eq!(who(trust(&ca).server_name("orders"), &serving.address()).await, "false 0 ");
    assert!(trust(&ca).server_name("or ders").build().is_err());
}

#[tokio::test]
async fn both_sides_show_who_they_are() {
    let (ca, clients) = (Ca::new("ca"), Ca::new("clients"));
    let serving = serve(server_tls(&ca.server(&["localhost"])).client_ca_pem(&clients.pem)).await;
    let me = clients.client(&["billing.internal", "spiffe://acme/billing"]);
    let address = serving.address();
    let seen = who(trust(&ca).identity_pem(&me.pem, &me.key), &address).await;
    assert_eq!(seen, "true 1 billing.internal spiffe://acme/billing");

    let error = connect(trust(&ca), &address).await.unwrap_err();
    let words = ["MCP-E-007", "the server wants to see a certificate", "give one, and its key"];
    assert_refused(&error, ErrorKind::Unauthenticated, &words, &address);
    let client = ExtendedKeyUsagePurpose::ClientAuth;
    for (me, word) in [
        (ca.client(&["billing"]), "it does not trust the CA that signed it"),
        (clients.issue(&["billing"], When::Past, client), "it has expired"),
        (clients.server(&["billing"]), "refuses this client's certificate"),
    ] {
        let error = connect(trust(&ca).identity_pem(&me.pem, &me.key), &address).await.unwrap_err();
        assert_refused(&error, ErrorKind::Unauthenticated, &[word], &address);
    }
}

/// What it has sent by then is not read, and must not reset the connection before the alert is there.
#[tokio::test]
async fn a_client_that_has_much_to_say_hears_why_it_is_not_let_in() {
    let ca = Ca::new("ca");
    let serving = serve(server_tls(&ca.server(&["localhost"])).client_ca_pem(&ca.pem)).await;
    for _ in 0..10 {
        let mut stream = foreign(&ca, serving.port, &[b"mcp/1"]).await.unwrap();
        let _ = soon(stream.write_all(&[0; 200_000])).await;
        let error = soon(stream.read(&mut [0; 8])).await.unwrap_err();
        assert!(error.to_string().contains("CertificateRequired"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_may_be_optional_but_not_bad() {
    let ca = Ca::new("ca");
    let tls = server_tls(&ca.server(&["localhost"])).client_ca_pem(&ca.pem);
    let serving = serve(tls.client_auth(ClientAuth::Optional)).await;
    let address = serving.address();
    assert_eq!(who(trust(&ca), &address).await, "false 0 ");
    let me = ca.client(&["a"]);
    assert_eq!(who(trust(&ca).identity_pem(&me.pem, &me.key), &address).await, "true 1 a");
    let stranger = Ca::new("other").client(&["a"]);
    let error = connect(trust(&ca).identity_pem(&stranger.pem, &stranger.key), &address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
}

#[tokio::test]
async fn a_plain_client_at_a_tls_port_is_told() {
    let ca = Ca::new("ca");
    let serving = serve(server_tls(&ca.server(&["localhost"]))).await;
    let address = Address::new("localhost", serving.port);
    let connection = soon(Connection::connect(&address, &ClientConfig::default())).await.unwrap();
    let error = call(&connection, "Test.Echo", Bytes::new()).await.unwrap_err();
    assert_refused(
        &error,
        ErrorKind::Unauthenticated,
        &["this port speaks TLS: connect to mcps://"],
        &address,
    );
}

#[tokio::test]
async fn a_tls_client_at_a_plain_port_is_told() {
    let ca = Ca::new("ca");
    let server = Server::bind("localhost:0", ServerConfig::default()).await.unwrap();
    let address = Address::tls("localhost", server.local_addr().unwrap().port());
    tokio::spawn(server.serve(service_fn(handle)).into_future());
    let error = connect(trust(&ca), &address).await.unwrap_err();
    let words = ["the server answers without TLS", "connect to mcp:// instead"];
    assert_refused(&error, ErrorKind::ConnectFailed, &words, &address);

    // Something that ends the connection at once, and something that says nothing.
    let closing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::tls("localhost", closing.local_addr().unwrap().port());
    tokio::spawn(async move { while closing.accept().await.is_ok() {} });
    let error = connect(trust(&ca), &address).await.unwrap_err();
    assert_refused(&error, ErrorKind::ConnectFailed, &["check that"], &address);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::tls("127.0.0.1", silent.local_addr().unwrap().port());
    let config = ClientConfig { connect_timeout: Duration::from_millis(200), ..ClientConfig::default() };
    let connector = Connector::new(config).with_tls(trust(&ca).build().unwrap());
    let error = soon(connector.connect(&address)).await.unwrap_err();
    assert_refused(&error, ErrorKind::ConnectFailed, &["no TLS handshake within 200 ms"], &address);
}

#[tokio::test]
async fn without_certificates_there_is_no_tls() {
    let address = Address::tls("localhost", 1);
    let error = Connection::connect(&address, &ClientConfig::default()).await.unwrap_err();
    assert_refused(&error, ErrorKind::ConnectFailed, &["whose certificates are trusted", "--ca"], &address);
    let error = Server::bind("mcps://127.0.0.1:0", ServerConfig::default()).await.unwrap_err();
    assert!(error.to_string().contains("mcps://127.0.0.1:0: TLS needs a certificate"), "{error}");
    let tls = server_tls(&Ca::new("ca").server(&["a"])).build().unwrap();
    for (to, word) in [("mcp://127.0.0.1:0", "write mcps://"), ("mcp+unix:/tmp/x", "no TLS on a Unix socket")]
    {
        let options = BindOptions::new().tls(tls.clone());
        let error = Server::bind_with(to, options, ServerConfig::default()).await.unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// A client of another make, with this for ALPN.
async fn foreign(
    ca: &Ca,
    port: u16,
    alpn: &[&[u8]],
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(ca.pem.as_bytes()).unwrap()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = "localhost".try_into().unwrap();
    soon(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

async fn read_frame(io: &mut (impl tokio::io::AsyncRead + Unpin)) -> (u8, Bytes) {
    let mut head = [0; HEADER_LEN];
    soon(io.read_exact(&mut head)).await.unwrap();
    let header = FrameHeader::parse(&head, u32::MAX).unwrap();
    let mut payload = vec![0; header.len as usize];
    soon(io.read_exact(&mut payload)).await.unwrap();
    (header.kind, payload.into())
}

#[tokio::test]
async fn both_sides_want_mcp_by_alpn() {
    let ca = Ca::new("ca");
    let identity = ca.server(&["localhost"]);
    let serving = serve(server_tls(&identity)).await;
    let mut stream = foreign(&ca, serving.port, &[b"h2", b"mcp/1"]).await.unwrap();
    let mut ping = Vec::new();
    towpath_codec::put_short(&mut ping, kind::PING, 5);
    stream.write_all(&ping).await.unwrap();
    assert_eq!(read_frame(&mut stream).await.0, kind::PONG);

    let mut stream = foreign(&ca, serving.port, &[]).await.unwrap();
    let (kind, payload) = read_frame(&mut stream).await;
    assert_eq!(kind, kind::GOAWAY);
    let goaway = towpath_codec::decode_goaway(&payload).unwrap();
    assert_eq!(goaway.reason, GoAwayReason::BadVersion);
    assert!(goaway.text.contains("mcp/1"), "{}", goaway.text);
    assert_eq!(soon(stream.read(&mut [0; 8])).await.unwrap(), 0, "and the end, with close_notify");
    assert!(foreign(&ca, serving.port, &[b"h2"]).await.is_err());

    // A server of another make.
    for alpn in [&[][..], &[b"h2".to_vec()]] {
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![rustls::pki_types::CertificateDer::from_pem_slice(identity.pem.as_bytes()).unwrap()],
                rustls::pki_types::PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = alpn.to_vec();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::tls("localhost", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await;
        });
        let error = connect(trust(&ca), &address).await.unwrap_err();
        assert_refused(&error, ErrorKind::ConnectFailed, &["speaks TLS, but not MCP", "mcp/1"], &address);
    }
}

#[tokio::test]
async fn handshakes_that_stand_still_are_ended_and_hold_up_nobody() {
    let ca = Ca::new("ca");
    let tls = server_tls(&ca.server(&["localhost"])).handshake_timeout(Duration::from_millis(700));
    let serving = serve(tls).await;
    let mut idle = Vec::new();
    for n in 0..40 {
        let mut stream = TcpStream::connect(("127.0.0.1", serving.port)).await.unwrap();
        // Some say nothing, some begin a record.
        stream.write_all(&b"\x16\x03\x01\x02"[..n % 5]).await.unwrap();
        idle.push(stream);
    }
    let connection = connect(trust(&ca), &serving.address()).await.unwrap();
    assert_eq!(call(&connection, "Test.Echo", "x".into()).await.unwrap(), "x");
    for mut stream in idle {
        // Closed or reset: it is over.
        let _ = soon(stream.read_to_end(&mut Vec::new())).await;
    }
    assert_eq!(call(&connection, "Test.Echo", "y".into()).await.unwrap(), "y");
}

#[tokio::test]
async fn garbage_gets_nobody_in_and_breaks_nothing() {
    let ca = Ca::new("ca");
    let serving = serve(server_tls(&ca.server(&["localhost"]))).await;
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 4000], b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"M"]
    {
        let mut stream = TcpStream::connect(("127.0.0.1", serving.port)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = soon(stream.read_to_end(&mut Vec::new())).await;
    }
    assert_eq!(who(trust(&ca), &serving.address()).await, "false 0 ");
}

#[tokio::test]
async fn handshakes_count_as_connections() {
    let ca = Ca::new("ca");
    let tls = server_tls(&ca.server(&["localhost"])).build().unwrap();
    let config = ServerConfig { max_connections: 2, ..ServerConfig::default() };
    let serving = serve_with(&tls, config).await;
    let address = serving.address();
    let first = connect(trust(&ca), &address).await.unwrap();
    let _standing = TcpStream::connect(("127.0.0.1", serving.port)).await.unwrap();
    // The one that stands in its handshake may be accepted a moment later.
    let error = soon(async {
        loop {
            match connect(trust(&ca), &address).await {
                Err(error) => break error,
                Ok(early) => drop(early),
            }
        }
    })
    .await;
    assert_refused(&error, ErrorKind::ConnectFailed, &["too many connections"], &address);
    assert_eq!(call(&first, "Test.Echo", "x".into()).await.unwrap(), "x");
}

/// Who only holds a connection open, with no TLS on it, does not hold up the end of a server.
#[tokio::test]
async fn a_drain_does_not_wait_for_handshakes_that_stand_still() {
    let ca = Ca::new("the CA");
    // So long that the test hangs if it is waited for.
    let tls = server_tls(&ca.server(&["localhost"])).handshake_timeout(Duration::from_secs(3600));
    let server = serve(tls).await;
    let mut silent = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let connection = connect(trust(&ca), &server.address()).await.unwrap();
    let late = tokio::spawn(async move { call(&connection, "Test.Echo", Bytes::from_static(b"x")).await });
    assert_eq!(late.await.unwrap().unwrap(), "x");
    server.drain.send(()).unwrap();
    soon(server.task).await.unwrap().unwrap();
    assert_eq!(soon(silent.read(&mut [0; 8])).await.unwrap_or(0), 0);
}

/// Passes bytes on until it is cut: without a word of TLS.
async fn relay(to: u16) -> (u16, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (cut, is_cut) = oneshot::channel();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => {}
            _ = is_cut => {
                near.shutdown().await.unwrap();
                far.shutdown().await.unwrap();
            }
        }
    });
    (port, cut)
}

#[tokio::test]
async fn a_cut_is_a_loss_and_an_end_is_not() {
    let ca = Ca::new("ca");
    let serving = serve(server_tls(&ca.server(&["localhost"]))).await;
    let (port, cut) = relay(serving.port).await;
    let connection = connect(trust(&ca), &Address::tls("localhost", port)).await.unwrap();
    let waiting = tokio::spawn({
        let connection = connection.clone();
        async move { call(&connection, "Test.Never", Bytes::new()).await }
    });
    while connection.outstanding() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    cut.send(()).unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.processed()), (ErrorKind::ConnectionLost, Processed::Unknown));
    assert!(error.to_string().contains("close_notify"), "{error}");

    let idle = connect(trust(&ca), &serving.address()).await.unwrap();
    serving.drain.send(()).unwrap();
    let error = soon(idle.closed()).await;
    assert_eq!(error.kind(), ErrorKind::Draining, "{error}");
    soon(serving.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections() {
    let (ca, new_ca) = (Ca::new("ca"), Ca::new("new"));
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let write = |identity: &Identity| {
        std::fs::write(&cert, &identity.pem).unwrap();
        std::fs::write(&key, &identity.key).unwrap();
    };
    write(&ca.server(&["localhost"]));
    let tls = ServerTls::builder().identity_files(&cert, &key).build().unwrap();
    let serving = serve_with(&tls, ServerConfig::default()).await;
    let address = serving.address();
    let old = connect(trust(&ca), &address).await.unwrap();

    // One that cannot be used changes nothing, and is told.
    for (file, text) in [(&cert, "no certificate"), (&key, &*ca.server(&["localhost"]).key)] {
        let before = std::fs::read(file).unwrap();
        std::fs::write(file, text).unwrap();
        let error = tls.reload().unwrap_err().to_string();
        assert!(error.contains(&*cert.to_string_lossy()), "{error}");
        assert_eq!(who(trust(&ca), &address).await, "false 0 ");
        std::fs::write(file, before).unwrap();
    }
    std::fs::remove_file(&key).unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains(&*key.to_string_lossy()) && error.contains("cannot be read"), "{error}");

    write(&new_ca.server(&["localhost"]));
    tls.reload().unwrap();
    assert_eq!(who(trust(&new_ca), &address).await, "false 0 ");
    assert!(connect(trust(&ca), &address).await.is_err(), "not with the old one any more");
    assert_eq!(call(&old, "Test.Echo", "still".into()).await.unwrap(), "still");
}

#[tokio::test]
async fn files_can_be_watched_on_both_sides() {
    let (ca, new_ca) = (Ca::new("ca"), Ca::new("new"));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |ca: &Ca| {
        let identity = ca.server(&["localhost"]);
        for (name, text) in [("key", &identity.key), ("cert", &identity.pem), ("ca", &ca.pem)] {
            std::fs::write(path(name), text).unwrap();
        }
    };
    write(&ca);
    let server = ServerTls::builder().identity_files(path("cert"), path("key")).build().unwrap();
    let client = ClientTls::builder().ca_file(path("ca")).build().unwrap();
    let serving = serve_with(&server, ServerConfig::default()).await;
    let connector = Connector::new(ClientConfig::default()).with_tls(client.clone());
    soon(connector.connect(&serving.address())).await.unwrap();

    let every = Duration::from_millis(5);
    let _watching = (
        tokio::spawn(async move { server.watch(every).await }),
        tokio::spawn(async move { client.watch(every).await }),
    );
    tokio::time::sleep(Duration::from_millis(20)).await;
    write(&new_ca);
    soon(async {
        while connect(trust(&new_ca), &serving.address()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while connector.connect(&serving.address()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[test]
fn what_is_no_certificate_or_no_key_is_told_and_not_shown() {
    let ca = Ca::new("ca");
    let (one, other) = (ca.server(&["a"]), ca.server(&["b"]));
    let build = |pem: &str, key: &str| ServerTls::builder().identity_pem(pem, key).build();
    let secret: String = one.key.lines().nth(1).unwrap().to_owned();
    let encrypted = one.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let torn = one.key.replace("-----END", "----END");
    for (pem, key, word) in [
        (&*one.pem, &*other.key, "the server's certificate"),
        ("", &one.key, "holds no certificate"),
        (&one.key, &one.key, "holds no certificate"),
        (&one.pem, "", "there is no private key in it"),
        (&one.pem, &one.pem, "there is no private key in it"),
        (&one.pem, &encrypted, "the key in it is encrypted"),
        (&one.pem, &torn, "is no PEM"),
        (&one.pem, &one.key.replace(&secret, &format!("%{secret}")), "is no PEM"),
    ] {
        let error = build(pem, key).unwrap_err().to_string();
        assert!(error.contains(word) && !error.contains(&secret[..20]), "{error}");
    }
    let tls = build(&one.pem, &one.key).unwrap();
    let client = trust(&ca).identity_pem(&one.pem, &one.key);
    let options = BindOptions::new().tls(tls.clone());
    for text in [
        format!("{tls:?} {options:?}"),
        format!("{client:?}"),
        format!("{:?}", client.clone().build().unwrap()),
        format!("{:?}", server_tls(&one)),
    ] {
        assert!(!text.contains("BEGIN") && !text.contains(&secret[..20]), "{text}");
        // As a list of numbers it would be there too.
        assert!(!text.contains("[45, 45"), "{text}");
    }
    assert!(ClientTls::builder().build().unwrap_err().to_string().contains("no CA to trust"));
    assert!(ServerTls::builder().build().unwrap_err().to_string().contains("no certificate"));
    assert!(
        ClientTls::builder()
            .ca_file("/no/such.pem")
            .build()
            .unwrap_err()
            .to_string()
            .contains("/no/such.pem")
    );
}

#[tokio::test]
async fn peers_are_told_of_without_tls_when_asked_for() {
    let server = Server::bind("127.0.0.1:0", ServerConfig::default()).await.unwrap().with_peers(true);
    let address = server.local_addr().unwrap();
    tokio::spawn(server.serve(service_fn(handle)).into_future());
    let connection = Connection::connect(&address.into(), &ClientConfig::default()).await.unwrap();
    assert_eq!(call(&connection, "Test.Who", Bytes::new()).await.unwrap(), "false 0 ");
}

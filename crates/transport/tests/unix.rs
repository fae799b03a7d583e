//! Unix sockets: calls, and what becomes of the files.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use std::{
    fs,
    future::IntoFuture,
    io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle};
use tower::{Service, ServiceExt, service_fn};
use towpath_core::{BoxError, Error, ErrorKind, Processed, Request, Response};
use towpath_transport::{Address, BindOptions, ClientConfig, Connection, Listener, Server, ServerConfig};

async fn echo(request: Request) -> Result<Response, BoxError> {
    Ok(Response::new(request.into_body()))
}

async fn bind(path: &Path) -> io::Result<Server> {
    Server::bind(Address::unix(path), ServerConfig::default()).await
}

struct Serving {
    task: JoinHandle<io::Result<()>>,
    drain: oneshot::Sender<()>,
}

fn serve(server: Server) -> Serving {
    let (drain, drained) = oneshot::channel();
    let serving = server.serve(service_fn(echo)).with_graceful_shutdown(async {
        let _ = drained.await;
    });
    Serving { task: tokio::spawn(serving.into_future()), drain }
}

impl Serving {
    async fn drain(self) {
        self.drain.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

async fn connect(path: &Path) -> Result<Connection, Error> {
    Connection::connect(&Address::unix(path), &ClientConfig::default()).await
}

async fn call(path: &Path, body: impl Into<Bytes>) -> Bytes {
    let request = Request::new("Echo.Echo", body.into());
    connect(path).await.unwrap().ready().await.unwrap().call(request).await.unwrap().into_body()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    (folder, path)
}

/// What a server leaves that has died without taking its file away.
fn leave_behind(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    assert!(fs::symlink_metadata(path).unwrap().file_type().is_socket());
}

#[tokio::test]
async fn calls_of_all_sizes_go_through() {
    let (_folder, path) = folder();
    let server = bind(&path).await.unwrap();
    assert_eq!(server.address(), &Address::unix(&path));
    assert!(server.local_addr().is_err());
    let serving = serve(server);
    for size in [0, 1, 9_000, 3_000_000] {
        let body = Bytes::from(vec![7u8; size]);
        assert!(call(&path, body.clone()).await == body);
    }
    serving.drain().await;
}

#[tokio::test]
async fn the_file_goes_with_the_server() {
    let (_folder, path) = folder();
    let serving = serve(bind(&path).await.unwrap());
    call(&path, "a").await;
    serving.drain().await;
    assert!(!path.exists(), "after a drain");
    let serving = serve(bind(&path).await.unwrap());
    call(&path, "b").await;
    serving.kill().await;
    assert!(!path.exists(), "after a drop");
    drop(bind(&path).await.unwrap());
    assert!(!path.exists(), "without having served");
}

#[tokio::test]
async fn its_permissions_are_what_was_asked_for() {
    let (_folder, path) = folder();
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let server = bind(&path).await.unwrap();
    assert_eq!(mode(), 0o600, "the default");
    drop(server);
    let options = BindOptions::new().unix_mode(0o666);
    let server = Server::bind_with(Address::unix(&path), options, ServerConfig::default()).await.unwrap();
    assert_eq!(mode(), 0o666);
    drop(server);
}

#[tokio::test]
async fn what_a_dead_server_left_is_replaced() {
    let (_folder, path) = folder();
    leave_behind(&path);
    let error = connect(&path).await.unwrap_err();
    assert_eq!((error.kind(), error.processed()), (ErrorKind::ConnectFailed, Processed::No));
    let text = error.to_string();
    assert!(text.contains("has died") && text.contains(&*path.to_string_lossy()), "{text}");
    let serving = serve(bind(&path).await.unwrap());
    assert_eq!(call(&path, "x").await, "x");
    serving.drain().await;
}

#[tokio::test]
async fn what_is_alive_or_no_socket_is_not_touched() {
    let (folder, path) = folder();
    let serving = serve(bind(&path).await.unwrap());
    let error = bind(&path).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("another server listens there"), "{error}");
    assert_eq!(call(&path, "still there").await, "still there");
    serving.drain().await;

    let file = folder.path().join("notes.txt");
    fs::write(&file, "precious").unwrap();
    let error = bind(&file).await.unwrap_err();
    assert!(error.to_string().contains("it is no socket"), "{error}");
    let error = connect(&file).await.unwrap_err().to_string();
    assert!(error.contains("is no socket") && !error.contains("died"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    let error = bind(&folder.path().join("none/s.sock")).await.unwrap_err().to_string();
    assert!(error.contains("none/s.sock") && error.contains("no such folder"), "{error}");
}

#[test]
fn of_many_that_find_a_dead_one_s_file_one_takes_it() {
    for _ in 0..20 {
        let (_folder, path) = folder();
        leave_behind(&path);
        let together = std::sync::Arc::new(std::sync::Barrier::new(8));
        let starting: Vec<_> = (0..8)
            .map(|_| {
                let (path, together) = (path.clone(), together.clone());
                // Each on a thread of its own: they are separate processes in life.
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    together.wait();
                    let server = runtime.block_on(bind(&path));
                    (runtime, server)
                })
            })
            .collect();
        let started: Vec<_> = starting.into_iter().map(|thread| thread.join().unwrap()).collect();
        let (fine, refused): (Vec<_>, Vec<_>) = started.iter().partition(|(_, server)| server.is_ok());
        assert_eq!((fine.len(), refused.len()), (1, 7), "{refused:?}");
        // It is the one that is connected to.
        std::os::unix::net::UnixStream::connect(&path).unwrap();
    }
}

#[tokio::test]
async fn the_file_of_a_successor_stays() {
    let (_folder, path) = folder();
    let old = bind(&path).await.unwrap();
    fs::remove_file(&path).unwrap();
    let serving = serve(bind(&path).await.unwrap());
    drop(old);
    assert_eq!(call(&path, "new").await, "new");
    serving.drain().await;
}

#[tokio::test]
async fn one_that_listens_already_is_taken() {
    let (_folder, path) = folder();
    let listener = Listener::from_std_unix(std::os::unix::net::UnixListener::bind(&path).unwrap()).unwrap();
    let server = Server::from_listener(listener, ServerConfig::default()).unwrap();
    assert_eq!(server.address(), &Address::unix(&path));
    let serving = serve(server);
    assert_eq!(call(&path, "x").await, "x");
    serving.drain().await;
    assert!(path.exists(), "who made it may remove it");
}

#[tokio::test]
async fn why_nobody_is_reached_is_told() {
    let (folder, path) = folder();
    let error = connect(&path).await.unwrap_err();
    assert_eq!((error.kind(), error.processed()), (ErrorKind::ConnectFailed, Processed::No));
    assert!(error.to_string().contains("there is no such file"), "{error}");
    let long = folder.path().join("x".repeat(200));
    assert!(connect(&long).await.is_err() && bind(&long).await.is_err());
}

#[tokio::test]
async fn a_lost_server_ends_its_calls() {
    let (_folder, path) = folder();
    let server = bind(&path).await.unwrap();
    let never = service_fn(|_: Request| std::future::pending::<Result<Response, BoxError>>());
    let task = tokio::spawn(server.serve(never).into_future());
    let mut connection = connect(&path).await.unwrap();
    let waiting = tokio::spawn(connection.call(Request::new("A.B", Bytes::new())));
    while connection.outstanding() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    task.abort();
    let error = tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
}

//! Snapshots of an admin interface, over HTTP.

use crate::exit::Failure;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, Uri, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::{net::TcpStream, time::timeout};
use towpath::{admin::view::Snapshot, auth::Token};

/// A snapshot above this is not read.
const LARGEST: usize = 16 << 20;

/// Where snapshots come from.
pub(super) struct Source {
    url: String,
    authority: String,
    port: u16,
    host: String,
    path: String,
    token: Option<Token>,
}

impl Source {
    /// The page of an admin interface: `http://127.0.0.1:9900`, or with the path under which it is nested.
    pub(super) fn new(url: &str, token: Option<Token>) -> Result<Self, Failure> {
        let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let usage =
            |why: &str| Failure::Usage(format!("{url}: {why}, it looks like http://127.0.0.1:9900/admin"));
        let uri: Uri = full.parse().map_err(|_| usage("that is no URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(usage("an admin interface is asked over http"));
        }
        let Some(authority) = uri.authority() else { return Err(usage("there is no host")) };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Source {
            url: full.clone(),
            authority: authority.to_string(),
            port: authority.port_u16().unwrap_or(80),
            host,
            path: format!("{}/snapshot.json", uri.path().trim_end_matches('/')),
            token,
        })
    }

    /// One look, within this time.
    pub(super) async fn get(&self, patience: Duration) -> Result<Snapshot, Failure> {
        let not_reached = |why: String| Failure::NotReached(format!("{}: {why}", self.url));
        match timeout(patience, self.ask()).await {
            Ok(Ok(snapshot)) => Ok(snapshot),
            Ok(Err(why)) => Err(not_reached(why)),
            Err(_) => Err(not_reached(format!("no answer within {patience:?}"))),
        }
    }

    async fn ask(&self) -> Result<Snapshot, String> {
        let stream = TcpStream::connect((&*self.host, self.port)).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let mut request = Request::get(&self.path).header(header::HOST, &self.authority);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.as_authorization());
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::UNAUTHORIZED => {
                    return Err("it wants a token: --token-env or --token-file".to_owned());
                }
                status => {
                    return Err(format!("it answers {status}: is that the page of an admin interface?"));
                }
            }
            let body = Limited::new(response.into_body(), LARGEST).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            serde_json::from_slice(&body).map_err(|error| format!("that is no snapshot: {error}"))
        };
        tokio::select! {
            answer = answer => answer,
            // It goes on as long as the answer does.
            Err(error) = connection => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_snapshot_beside_it() {
        for (url, host, port, path) in [
            ("http://127.0.0.1:9900", "127.0.0.1", 9900, "/snapshot.json"),
            ("127.0.0.1:9900/admin/", "127.0.0.1", 9900, "/admin/snapshot.json"),
            ("http://[::1]:1/a/b", "::1", 1, "/a/b/snapshot.json"),
            ("http://localhost", "localhost", 80, "/snapshot.json"),
        ] {
            let source = Source::new(url, None).unwrap_or_else(|failure| panic!("{failure:?}"));
            assert_eq!((&*source.host, source.port, &*source.path), (host, port, path), "{url}");
        }
        for url in ["https://127.0.0.1", "http://", "mcp://127.0.0.1:1", "http://a b"] {
            assert!(Source::new(url, None).is_err(), "{url}");
        }
    }
}

//! What the endpoint says of itself over HTTP.

use super::{Probe, place::Place};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1::{self, Connection, SendRequest},
    header::{HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use std::{
    fmt,
    ops::RangeInclusive,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::net::TcpStream;
use towpath_core::{BoxError, Endpoint};

/// How much of an answer's body is read. It does not count; read to its end, the connection can be kept.
const BODY: usize = 64 << 10;

/// Asks by GET (HTTP/1.1, without TLS), and takes an answer from 200 to 299 for a success. What its body says
/// does not count, but it has to end in time, or to be larger than 64 KiB.
///
/// The connection is kept from one probe to the next, where the endpoint agrees. One that has ended meanwhile says
/// nothing: another one is made then, in the same probe. Redirects are not followed.
///
/// ```
/// use towpath_health::HttpProbe;
/// // At the endpoint's own port, or at another one, or at the one that a label of each endpoint tells.
/// let probe = HttpProbe::new("/readyz")?.port(9090).port_of_label("health-port");
/// # Ok::<(), towpath_health::InvalidHttpProbe>(())
/// ```
#[derive(Debug)]
pub struct HttpProbe {
    about: Arc<About>,
    /// Only for the one who asks; a mutex, as it may be sent but not shared.
    open: Mutex<Option<Open>>,
}

#[derive(Clone, Debug)]
struct About {
    path: Uri,
    port: Option<u16>,
    port_label: Option<Box<str>>,
    host: Option<HeaderValue>,
    accept: RangeInclusive<u16>,
}

/// A text that no probe can be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidHttpProbe(String);

impl HttpProbe {
    /// One that asks for this path, which may have a query: `/readyz`.
    ///
    /// # Errors
    /// If it does not begin with `/`, or cannot stand in a request.
    pub fn new(path: &str) -> Result<Self, InvalidHttpProbe> {
        let refuse = |why: &dyn fmt::Display| InvalidHttpProbe(format!("{path:?} is no path: {why}"));
        if !path.starts_with('/') {
            return Err(refuse(&"it looks like /readyz"));
        }
        let path = path.parse().map_err(|why| refuse(&why))?;
        let (port, port_label, host, accept) = (None, None, None, 200..=299);
        Ok(Self::of(Arc::new(About { path, port, port_label, host, accept })))
    }

    fn of(about: Arc<About>) -> Self {
        HttpProbe { about, open: Mutex::new(None) }
    }

    fn change(mut self, change: impl FnOnce(&mut About)) -> Self {
        change(Arc::make_mut(&mut self.about));
        self
    }

    /// Asks at this port instead of that of the endpoint's address.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.change(|about| about.port = Some(port))
    }

    /// Asks at the port that this label of an endpoint tells, if it has it.
    #[must_use]
    pub fn port_of_label(self, label: impl Into<Box<str>>) -> Self {
        self.change(|about| about.port_label = Some(label.into()))
    }

    /// Says this in the header `host`, instead of where it connects.
    ///
    /// # Errors
    /// If it cannot stand there.
    pub fn host(self, host: &str) -> Result<Self, InvalidHttpProbe> {
        let refused = |_| InvalidHttpProbe(format!("{host:?} cannot be a host"));
        let host = HeaderValue::from_str(host).map_err(refused)?;
        Ok(self.change(|about| about.host = Some(host)))
    }

    /// Takes an answer with one of these for a success, instead of 200 to 299.
    #[must_use]
    pub fn accept(self, statuses: RangeInclusive<u16>) -> Self {
        self.change(|about| about.accept = statuses)
    }
}

/// A clone has no connection yet.
impl Clone for HttpProbe {
    fn clone(&self) -> Self {
        HttpProbe::of(self.about.clone())
    }
}

impl Probe for HttpProbe {
    async fn probe(&mut self, endpoint: &Endpoint) -> Result<(), BoxError> {
        let about = self.about.clone();
        let (host, port) = about.place(endpoint)?;
        let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let failed = |why: &dyn fmt::Display| -> BoxError {
            format!("GET http://{shown}{}: {why}", about.path).into()
        };
        let ask = || {
            let host = match &about.host {
                Some(host) => host.clone(),
                None => HeaderValue::from_str(&shown).map_err(|why| failed(&why))?,
            };
            let mut request = Request::new(Empty::new());
            *request.uri_mut() = about.path.clone();
            request.headers_mut().insert(HOST, host);
            request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("towpath-health"));
            Ok::<_, BoxError>(request)
        };
        let kept = self.open.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut answered = None;
        if let Some(open) = kept.take() {
            answered = open.ask(ask()?).await.ok();
        }
        let (status, open) = match answered {
            Some(answered) => answered,
            None => {
                let open = Open::connect(&host, port).await.map_err(|why| failed(&why))?;
                open.ask(ask()?).await.map_err(|why| failed(&why))?
            }
        };
        *kept = open;
        match about.accept.contains(&status.as_u16()) {
            true => Ok(()),
            false => Err(failed(&format!("the answer is {status}"))),
        }
    }
}

impl About {
    fn place(&self, endpoint: &Endpoint) -> Result<(String, u16), BoxError> {
        let (host, own) = match Place::of(endpoint)? {
            Place::Tcp(host, port) => (host, port),
            Place::Unix(_) => {
                return Err(format!("{endpoint} is a Unix socket: there is no HTTP check of one").into());
            }
        };
        let label = self.port_label.as_deref().and_then(|name| Some((name, endpoint.label(name)?)));
        let port = match (label, self.port) {
            (Some((name, text)), _) => {
                text.parse().map_err(|_| format!("the label {name} of {endpoint} is no port: {text:?}"))?
            }
            (None, Some(port)) => port,
            (None, None) => own,
        };
        Ok((host, port))
    }
}

/// A connection, and who drives it: only while it is asked. Dropped, it is closed.
struct Open {
    sender: SendRequest<Empty<Bytes>>,
    connection: Pin<Box<Connection<TokioIo<TcpStream>, Empty<Bytes>>>>,
}

impl Open {
    async fn connect(host: &str, port: u16) -> Result<Self, BoxError> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Open { sender, connection: Box::pin(connection) })
    }

    /// Asks; gives the connection back if another question can be asked on it.
    async fn ask(self, request: Request<Empty<Bytes>>) -> Result<(StatusCode, Option<Open>), hyper::Error> {
        let Open { mut sender, mut connection } = self;
        let (status, again) = {
            let mut exchange = pin!(async {
                sender.ready().await?;
                let answer = sender.send_request(request).await?;
                let status = answer.status();
                let whole = Limited::new(answer.into_body(), BODY).collect().await.is_ok();
                Ok::<_, hyper::Error>((status, whole && sender.ready().await.is_ok()))
            });
            tokio::select! {
                biased;
                done = &mut exchange => done?,
                _ = &mut connection => {
                    // Who waits for it to be ready hears of its end when it is dropped. The answer may be there already.
                    drop(connection);
                    let (status, _) = exchange.await?;
                    return Ok((status, None));
                }
            }
        };
        Ok((status, again.then_some(Open { sender, connection })))
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Open")
    }
}

impl fmt::Display for InvalidHttpProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidHttpProbe {}

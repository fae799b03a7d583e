//! Where a server is to listen, and how it comes to do so.

use super::{
    handover::{self, Handover, Offer},
    socket::Listener,
};
use crate::{
    address::{Address, InvalidAddress, Scheme},
    tls::{NO_SERVER, ServerTls},
    unix,
};
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};
use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Where a server is to listen, made from what a program has at hand: an [`Address`], a text (`host:port`, or an
/// address as a URL), a socket address, a host with a port. Port 0 takes a free one.
#[derive(Clone, Debug)]
pub struct BindTo(To);

#[derive(Clone, Debug)]
enum To {
    Address(Address),
    /// `host:port`
    Name(String),
    Sockets(Vec<SocketAddr>),
    Invalid(InvalidAddress),
}

/// How to listen. The defaults are right but where one knows better.
#[derive(Clone, Debug)]
#[must_use = "options do nothing by themselves"]
pub struct BindOptions {
    pub(super) reuse_port: bool,
    pub(super) unix_mode: u32,
    pub(super) backlog: u32,
    pub(super) tls: Option<ServerTls>,
    pub(super) handover: Option<PathBuf>,
}

impl Default for BindOptions {
    fn default() -> Self {
        BindOptions { reuse_port: false, unix_mode: 0o600, backlog: 1024, tls: None, handover: None }
    }
}

impl BindOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether other processes of this user may listen on the same TCP port (`SO_REUSEPORT`); the system spreads
    /// new connections over all of them. Default no.
    ///
    /// Connections that the system has accepted for a process and that the process has not taken when it ends
    /// are reset: to replace a process without that, hand its listener over.
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// The permissions of a Unix socket's file; who may write to it may connect. Default `0o600`: this user only.
    pub fn unix_mode(mut self, mode: u32) -> Self {
        self.unix_mode = mode;
        self
    }

    /// How many connections may wait to be accepted; the system may allow fewer. Default 1024.
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// Takes the listening socket over from the server that offers it at this path (of a Unix socket), if there is
    /// one, and offers it there itself from when it serves. The server that is replaced drains, and ends. No connection
    /// is refused meanwhile: those that wait to be accepted belong to the socket.
    ///
    /// Both have to run as the same user, and the address has to be the same. What is not to be replaced yet may go
    /// on: it is when the new server serves that the old one stops.
    pub fn handover(mut self, path: impl Into<PathBuf>) -> Self {
        self.handover = Some(path.into());
        self
    }

    /// Serves TLS, on an address of `mcps://` or one without a scheme.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }
}

impl BindTo {
    /// What is wrong with this address and these options together.
    fn contradiction(&self, options: &BindOptions) -> Option<&'static str> {
        let To::Address(address) = &self.0 else { return None };
        match (address.scheme(), &options.tls) {
            (Scheme::Tls, None) => Some(NO_SERVER),
            (Scheme::Tcp, Some(_)) => Some("an address of mcp:// is served without TLS: write mcps://"),
            (Scheme::Unix, Some(_)) => Some("there is no TLS on a Unix socket"),
            _ => None,
        }
    }
}

/// Listens there, or takes over from who does. An error says where, and what to do.
pub(super) async fn listen(to: BindTo, options: &BindOptions) -> io::Result<(Listener, Handover)> {
    let place = to.to_string();
    take_or_open(to, options).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {place}: {}", reason(&error)))
    })
}

async fn take_or_open(to: BindTo, options: &BindOptions) -> io::Result<(Listener, Handover)> {
    if let Some(why) = to.contradiction(options) {
        return Err(invalid(why.to_owned()));
    }
    let to = to.resolve().await?;
    let Some(path) = &options.handover else {
        return Ok((open(to, options).await?, Handover::None));
    };
    // Else it would be taken for one of the address.
    let at_path = |error: io::Error| {
        io::Error::new(error.kind(), format!("the handover at {}: {}", path.display(), reason(&error)))
    };
    match handover::take(path).await.map_err(at_path)? {
        Some((listener, old)) if to.is_of(&listener) => Ok((listener, Handover::Taken(old))),
        Some((listener, _)) => Err(invalid(format!(
            "the server that offers its socket at {} listens on {}: take over at that address, or name another path",
            path.display(),
            listener.address()
        ))),
        None => {
            let listener = open(to, options).await?;
            Ok((listener, Handover::Offered(Offer::open(path).await.map_err(at_path)?)))
        }
    }
}

/// What the system says, in words; whatever says it in words already is left alone.
fn reason(error: &io::Error) -> String {
    if error.raw_os_error().is_none() {
        return error.to_string();
    }
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied: a port below 1024, or a file or folder, that this user may not use".to_owned()
        }
        io::ErrorKind::NotFound => "there is no such folder".to_owned(),
        _ => error.to_string(),
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// What a name has become.
enum Resolved {
    Sockets(Vec<SocketAddr>),
    Path(Address),
}

impl BindTo {
    async fn resolve(self) -> io::Result<Resolved> {
        Ok(Resolved::Sockets(match self.0 {
            To::Sockets(addresses) => addresses,
            To::Name(name) => match lookup_host(&name).await {
                Ok(addresses) => addresses.collect(),
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    return Err(invalid("it is no host with a port, as in 127.0.0.1:8080".to_owned()));
                }
                Err(error) => return Err(error),
            },
            To::Invalid(error) => return Err(invalid(format!("it {}", error.verdict()))),
            To::Address(address) => match address.host_port() {
                Some(host_port) => lookup_host(host_port).await?.collect(),
                None => return Ok(Resolved::Path(address)),
            },
        }))
    }
}

impl Resolved {
    /// Whether a socket listens where it was asked for; port 0 is any.
    fn is_of(&self, listener: &Listener) -> bool {
        match self {
            Resolved::Path(address) => listener.address() == address,
            Resolved::Sockets(addresses) => listener.local_addr().is_ok_and(|local| {
                let same = |asked: &SocketAddr| {
                    asked.ip() == local.ip() && (asked.port() == 0 || asked.port() == local.port())
                };
                addresses.iter().any(same)
            }),
        }
    }
}

async fn open(to: Resolved, options: &BindOptions) -> io::Result<Listener> {
    let addresses = match to {
        Resolved::Sockets(addresses) => addresses,
        Resolved::Path(address) => {
            let path = address.path().unwrap_or("".as_ref());
            let (listener, file) = unix::listen(path, options.unix_mode, options.backlog).await?;
            return Ok(Listener::at_path(listener, file, address));
        }
    };
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in addresses {
        match listen_tcp(address, options) {
            Ok(listener) => return Ok(listener.into()),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn listen_tcp(address: SocketAddr, options: &BindOptions) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // On Windows it means something else: that anybody may take the port away.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    if options.reuse_port {
        share_port(&socket)?;
    }
    socket.bind(address)?;
    socket.listen(options.backlog)
}

#[cfg(unix)]
fn share_port(socket: &TcpSocket) -> io::Result<()> {
    socket.set_reuseport(true)
}

#[cfg(not(unix))]
fn share_port(_: &TcpSocket) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no SO_REUSEPORT"))
}

impl fmt::Display for BindTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            To::Address(address) => address.fmt(f),
            To::Name(name) => f.write_str(name),
            To::Invalid(error) => f.write_str(error.text()),
            To::Sockets(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                f.write_str(&addresses.join(", "))
            }
        }
    }
}

impl From<Address> for BindTo {
    fn from(address: Address) -> Self {
        BindTo(To::Address(address))
    }
}

impl From<&Address> for BindTo {
    fn from(address: &Address) -> Self {
        address.clone().into()
    }
}

impl From<&str> for BindTo {
    fn from(text: &str) -> Self {
        if !text.contains("://") && !text.starts_with("mcp+unix:") {
            return BindTo(To::Name(text.to_owned()));
        }
        BindTo(Address::parse_listen(text).map_or_else(To::Invalid, To::Address))
    }
}

impl From<String> for BindTo {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for BindTo {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<SocketAddr> for BindTo {
    fn from(address: SocketAddr) -> Self {
        BindTo(To::Sockets(vec![address]))
    }
}

impl From<&SocketAddr> for BindTo {
    fn from(address: &SocketAddr) -> Self {
        (*address).into()
    }
}

/// The first of them that can be had.
impl From<&[SocketAddr]> for BindTo {
    fn from(addresses: &[SocketAddr]) -> Self {
        BindTo(To::Sockets(addresses.to_vec()))
    }
}

impl From<(IpAddr, u16)> for BindTo {
    fn from(address: (IpAddr, u16)) -> Self {
        SocketAddr::from(address).into()
    }
}

impl From<(Ipv4Addr, u16)> for BindTo {
    fn from(address: (Ipv4Addr, u16)) -> Self {
        SocketAddr::from(address).into()
    }
}

impl From<(Ipv6Addr, u16)> for BindTo {
    fn from(address: (Ipv6Addr, u16)) -> Self {
        SocketAddr::from(address).into()
    }
}

impl From<(&str, u16)> for BindTo {
    fn from((host, port): (&str, u16)) -> Self {
        BindTo(To::Address(Address::new(host, port)))
    }
}

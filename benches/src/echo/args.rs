//! The command line.

use std::net::SocketAddr;

pub(crate) enum Side {
    Server,
    Client,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stack {
    Bare,
    Full,
}

pub(crate) struct Args {
    pub(crate) side: Side,
    pub(crate) stack: Stack,
    pub(crate) addr: SocketAddr,
    pub(crate) conns: usize,
    pub(crate) inflight: usize,
    pub(crate) payload: usize,
    pub(crate) seconds: f64,
    pub(crate) warmup: f64,
    pub(crate) server_pid: Option<u32>,
    /// Worker threads; `None`: the current-thread runtime.
    pub(crate) workers: Option<usize>,
}

impl Args {
    pub(crate) fn from_env() -> Result<Args, String> {
        let mut words = std::env::args().skip(1);
        let side = match words.next().as_deref() {
            Some("server") => Side::Server,
            Some("client") => Side::Client,
            _ => return Err("usage: towpath-echo server|client --addr IP:PORT [options]".to_owned()),
        };
        let mut args = Args {
            side,
            stack: Stack::Bare,
            addr: SocketAddr::from(([127, 0, 0, 1], 7777)),
            conns: 1,
            inflight: 1,
            payload: 64,
            seconds: 3.0,
            warmup: 0.5,
            server_pid: None,
            workers: None,
        };
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
            let bad = || format!("{name} {value}: not understood");
            match name.as_str() {
                "--addr" => args.addr = value.parse().map_err(|_| bad())?,
                "--conns" => args.conns = value.parse::<usize>().map_err(|_| bad())?.max(1),
                "--inflight" => args.inflight = value.parse().map_err(|_| bad())?,
                "--payload" => args.payload = value.parse().map_err(|_| bad())?,
                "--seconds" => args.seconds = value.parse().map_err(|_| bad())?,
                "--warmup" => args.warmup = value.parse().map_err(|_| bad())?,
                "--server-pid" => args.server_pid = Some(value.parse().map_err(|_| bad())?),
                "--stack" if value == "bare" => args.stack = Stack::Bare,
                "--stack" if value == "full" => args.stack = Stack::Full,
                "--rt" if value == "current" => args.workers = None,
                "--rt" => {
                    let workers = value.strip_prefix("multi:").ok_or_else(bad)?;
                    args.workers = Some(workers.parse().map_err(|_| bad())?);
                }
                _ => return Err(bad()),
            }
        }
        Ok(args)
    }
}

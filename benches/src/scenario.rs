//! Both sides in one thread, over a real socket: so that counts repeat.

use crate::{
    Failure,
    alloc::{self, Allocated},
    armour,
    counted::{Counted, Counts},
    service::{Echo, METHOD},
    side::{Side, served},
};
use bytes::Bytes;
use std::net::SocketAddr;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower::{Layer, Service, ServiceExt};

use towpath::{Client, ClientPolicies, Raw, Router, ServerPolicies, limit::ConcurrencyConfig};
use towpath_core::{BoxError, Request, Response};
use towpath_transport::{ClientConfig, Connection, Drain, ServerConfig, ServerConnection};

/// Calls before it is counted: buffers and tables reach their size.
const WARM_UP: u64 = 640;

/// Who calls whom, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What it is called in the table and in the file of limits.
    pub name: &'static str,
    /// Who they are.
    pub who: Who,
    /// Calls in flight.
    pub inflight: u64,
    /// Length of the body, in bytes.
    pub body: usize,
    /// How many calls are counted.
    pub calls: u64,
}

/// What is around the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Tower services on both sides, and nothing else.
    Bare,
    /// The facade's client and router.
    Facade,
    /// The same with policies on both sides: a breaker of the method, retry and a limit; admission.
    Policies,
    /// Everything: see [`armour`].
    Armoured,
}

/// All that are counted.
pub const SCENARIOS: [Scenario; 7] = [
    Scenario { name: "bare-64", who: Who::Bare, inflight: 64, body: 64, calls: 64_000 },
    Scenario { name: "bare-1", who: Who::Bare, inflight: 1, body: 64, calls: 8_000 },
    Scenario { name: "bare-512", who: Who::Bare, inflight: 512, body: 64, calls: 102_400 },
    Scenario { name: "bare-64k", who: Who::Bare, inflight: 64, body: 64 << 10, calls: 3_200 },
    Scenario { name: "facade-64", who: Who::Facade, inflight: 64, body: 64, calls: 64_000 },
    Scenario { name: "policies-64", who: Who::Policies, inflight: 64, body: 64, calls: 64_000 },
    Scenario { name: "armoured-64", who: Who::Armoured, inflight: 64, body: 64, calls: 64_000 },
];

/// What so many calls took, of one side.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// What was allocated.
    pub allocated: Allocated,
    /// Writes to the socket; `None` where the stream is not ours to wrap.
    pub writes: Option<u64>,
    /// Reads from it.
    pub reads: Option<u64>,
}

impl Scenario {
    /// Makes the calls, on a runtime of the current thread, and says what the client and the server took.
    ///
    /// # Errors
    /// If no connection can be made, or a call fails.
    pub fn run(&self, calls: u64) -> Result<(Taken, Taken), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            if self.who == Who::Bare {
                let server = serve_one(listener, Echo);
                let (connection, counts) = connect(address).await?;
                return self.drive(calls, connection, Some(counts), server.await??).await;
            }
            let router = Router::new().route(METHOD, |raw: Raw| async move { raw });
            let url = format!("mcp://{address}");
            let (server, client) = match self.who {
                Who::Bare | Who::Facade => (serve_one(listener, router), Client::connect(url).await?),
                Who::Policies => {
                    let mut policies = ClientPolicies::default();
                    policies.concurrency = Some(ConcurrencyConfig::default());
                    let server = serve_one(listener, ServerPolicies::default().stack().layer(router));
                    (server, Client::builder().idempotent("*").policies(policies).connect(url).await?)
                }
                Who::Armoured => {
                    armour::spans_have_a_subscriber();
                    let server = serve_one(listener, armour::layers().layer(router));
                    let client = armour::client(address)?;
                    client.ready().await?;
                    (server, client)
                }
            };
            self.drive(calls, client, None, server.await??).await
        })
    }

    async fn drive<S>(
        &self,
        calls: u64,
        service: S,
        client: Option<Counts>,
        server: Counts,
    ) -> Result<(Taken, Taken), Failure>
    where
        S: Service<Request, Response = Response> + Clone + Send + 'static,
        S::Error: Into<BoxError> + Send,
        S::Future: Send,
    {
        self.wave(&service, WARM_UP.max(2 * self.inflight)).await?;
        alloc::count(true);
        let look = |side, counts: Option<&Counts>| Taken {
            allocated: alloc::allocated(side),
            writes: counts.map(Counts::writes),
            reads: counts.map(Counts::reads),
        };
        let before = (look(Side::Client, client.as_ref()), look(Side::Server, Some(&server)));
        self.wave(&service, calls).await?;
        let after = (look(Side::Client, client.as_ref()), look(Side::Server, Some(&server)));
        alloc::count(false);
        Ok((after.0.since(before.0), after.1.since(before.1)))
    }

    /// Each caller calls again as soon as it is answered.
    async fn wave<S>(&self, service: &S, calls: u64) -> Result<(), Failure>
    where
        S: Service<Request, Response = Response> + Clone + Send + 'static,
        S::Error: Into<BoxError> + Send,
        S::Future: Send,
    {
        let body = Bytes::from(vec![7u8; self.body]).clone();
        let mut callers = JoinSet::new();
        for _ in 0..self.inflight {
            let (mut service, body, calls) = (service.clone(), body.clone(), calls / self.inflight);
            callers.spawn(async move {
                for _ in 0..calls {
                    let request = Request::new(METHOD, body.clone());
                    let ready = service.ready().await.map_err(Into::into)?;
                    let response = ready.call(request).await.map_err(Into::into)?;
                    if response.body().len() != body.len() {
                        return Err(BoxError::from("the echo is not what was sent"));
                    }
                }
                Ok(())
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        Ok(())
    }
}

impl Taken {
    fn since(self, before: Taken) -> Taken {
        let less = |after: Option<u64>, before: Option<u64>| Some(after? - before?);
        Taken {
            allocated: self.allocated.since(before.allocated),
            writes: less(self.writes, before.writes),
            reads: less(self.reads, before.reads),
        }
    }
}

/// Takes one connection and serves it in a task of its own.
fn serve_one<S>(listener: TcpListener, service: S) -> tokio::task::JoinHandle<std::io::Result<Counts>>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (stream, counts) = Counted::new(stream);
        let drain = Drain::new();
        let connection = ServerConnection::new(stream, service, &ServerConfig::default(), drain.watch());
        tokio::spawn(served(connection));
        Ok(counts)
    })
}

async fn connect(address: SocketAddr) -> Result<(Connection, Counts), Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (stream, counts) = Counted::new(stream);
    let (connection, driver) = Connection::new(stream, address.to_string(), &ClientConfig::default())?;
    tokio::spawn(driver);
    Ok((connection, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_runs() {
        for scenario in SCENARIOS {
            let calls = scenario.inflight * 4;
            let (client, server) = scenario.run(calls).unwrap();
            let writes = server.writes.unwrap();
            assert!((1..=calls * 20).contains(&writes), "{}: {server:?}", scenario.name);
            assert_eq!(client.writes.is_none(), scenario.who != Who::Bare, "{}", scenario.name);
        }
    }
}

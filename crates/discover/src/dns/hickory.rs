//! The resolver, by hickory.

use super::ask::{Answer, Ask, Kind, Srv};
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    lookup::Lookup,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData, RecordType},
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use towpath_core::BoxError;

/// How long a name server may take; a dead one costs it twice.
const TIMEOUT: Duration = Duration::from_secs(2);

/// For how long there are no records where the answer does not say it.
const UNSAID: Duration = Duration::from_secs(5);

/// The system's resolver, as `/etc/resolv.conf` has it, or one server.
#[derive(Clone)]
pub(super) struct Hickory(Arc<Inner>);

struct Inner {
    server: Option<SocketAddr>,
    /// Made when it is first needed, and again after a failure: what was configured, or the runtime that it lives on, may
    /// be another one by then.
    made: Mutex<Option<TokioResolver>>,
}

impl Hickory {
    pub(super) fn new(server: Option<SocketAddr>) -> Self {
        Hickory(Arc::new(Inner { server, made: Mutex::new(None) }))
    }

    fn resolver(&self) -> Result<TokioResolver, BoxError> {
        let mut made = self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resolver) = &*made {
            return Ok(resolver.clone());
        }
        let provider = TokioRuntimeProvider::default();
        let mut builder = match self.0.server {
            Some(server) => {
                let at = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
                let server = NameServerConfig::new(server.ip(), true, connections);
                let config = ResolverConfig::from_name_servers(vec![server]);
                TokioResolver::builder_with_config(config, provider)
            }
            None => TokioResolver::builder(provider)
                .map_err(|error| format!("the system's name servers are not known: {error}"))?,
        };
        let options = builder.options_mut();
        // Whoever asks keeps what it is told for as long as it holds: two caches would add up.
        options.cache_size = 0;
        options.timeout = options.timeout.min(TIMEOUT);
        let resolver = builder.build()?;
        *made = Some(resolver.clone());
        Ok(resolver)
    }

    /// What the answer says, and `None` where it says that there is nothing, with the time for which that holds.
    async fn ask(&self, name: &str, kind: RecordType) -> Result<(Option<Lookup>, Duration), BoxError> {
        let asked = self.resolver()?.lookup(name, kind).await;
        match asked {
            Ok(found) => {
                let ttl = found.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
                Ok((Some(found), Duration::from_secs(ttl.into())))
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                let ttl = none.negative_ttl.map_or(UNSAID, |ttl| Duration::from_secs(ttl.into()));
                Ok((None, ttl))
            }
            Err(error) => {
                *self.0.made.lock().unwrap_or_else(PoisonError::into_inner) = None;
                let server = self.0.server.map_or("the system's name server".to_owned(), |at| at.to_string());
                Err(format!("{kind} of {name} was not answered by {server}: {error}").into())
            }
        }
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

impl Ask for Hickory {
    fn addresses(
        &self,
        name: &str,
        kind: Kind,
    ) -> impl Future<Output = Result<Answer<IpAddr>, BoxError>> + Send + 'static {
        let (own, name) = (self.clone(), name.to_owned());
        async move {
            let kind = if kind == Kind::V4 { RecordType::A } else { RecordType::AAAA };
            let (found, ttl) = own.ask(&name, kind).await?;
            let answers = found.iter().flat_map(Lookup::answers);
            Ok(Answer { records: answers.filter_map(|record| address(&record.data)).collect(), ttl })
        }
    }

    fn services(&self, name: &str) -> impl Future<Output = Result<Answer<Srv>, BoxError>> + Send + 'static {
        let (own, name) = (self.clone(), name.to_owned());
        async move {
            let (found, mut ttl) = own.ask(&name, RecordType::SRV).await?;
            let mut records = Vec::new();
            for record in found.iter().flat_map(Lookup::answers) {
                let RData::SRV(srv) = &record.data else { continue };
                let with = found.iter().flat_map(Lookup::additionals);
                let mut known = Vec::new();
                for record in with.filter(|record| record.name == srv.target) {
                    if let Some(address) = address(&record.data) {
                        known.push(address);
                        ttl = ttl.min(Duration::from_secs(record.ttl.into()));
                    }
                }
                // "." says that there is no such service (RFC 2782).
                if srv.target != Name::root() {
                    let (port, priority, weight) = (srv.port, srv.priority, srv.weight);
                    records.push(Srv { target: srv.target.to_string(), port, priority, weight, known });
                }
            }
            Ok(Answer { records, ttl })
        }
    }
}

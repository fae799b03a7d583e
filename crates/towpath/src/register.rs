//! A server that lets a registry know.

use crate::{Client, policies::Ears};
use std::{fmt, io, sync::Arc};
use tower_service::Service;
use towpath_core::{BoxError, Error, ErrorKind, Request, Response};
use towpath_discover::{Instance, Target};
use towpath_registry::{
    InvalidRegistration, Registration, RegistrationConfig, RegistrationEvent, RegistryClient,
};
use towpath_transport::Address;

/// As what a server is [registered](crate::ServerBuilder::register), and where.
///
/// Without [`advertise`](Self::advertise) it is the address on which the server listens, if others can connect to that:
/// not one of `0.0.0.0` or `[::]`.
#[derive(Clone)]
#[must_use = "it is for ServerBuilder::register"]
pub struct Register {
    service: Arc<str>,
    start: Arc<Start>,
    advertised: Option<Arc<str>>,
    describe: Arc<Describe>,
    /// Who hears what becomes of it.
    pub(crate) ears: Ears<RegistrationEvent>,
}

type Start = dyn Fn(Arc<str>, Instance, Ears<RegistrationEvent>) -> Result<Registration, InvalidRegistration>
    + Send
    + Sync;
type Describe = dyn Fn(Instance) -> Instance + Send + Sync;

impl Register {
    /// In the registry and under the service that a URL names: `registry://host:port/service`, with `?scheme=mcps` if the
    /// registry is served over TLS. Nothing is connected before the server serves.
    ///
    /// # Errors
    /// If the URL is none of a registry.
    pub fn at(url: impl AsRef<str>) -> Result<Self, Error> {
        let (address, service) = parse(url.as_ref())?;
        Ok(Register::over(Client::connect_lazy(address)?, service))
    }

    /// In the registry that a service leads to, most often a [`Client`] of one's own making, or the router of a
    /// [`Registry`](towpath_registry::Registry) in this process.
    pub fn over<S>(registry: S, service: impl Into<Arc<str>>) -> Self
    where
        S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send>,
        S: Clone + Send + Sync + 'static,
    {
        let start = move |service, instance, ears| {
            let (registry, config) = (RegistryClient::new(registry.clone()), RegistrationConfig::default());
            Registration::start_with(registry, service, instance, config, ears)
        };
        Register {
            service: service.into(),
            start: Arc::new(start),
            advertised: None,
            describe: Arc::new(|instance| instance),
            ears: Ears::default(),
        }
    }

    /// With this address instead of the one on which the server listens: what clients connect to.
    pub fn advertise(mut self, address: impl Into<Arc<str>>) -> Self {
        self.advertised = Some(address.into());
        self
    }

    /// With this share of the traffic, compared with the others'; 1 by default.
    pub fn weight(self, weight: u32) -> Self {
        self.described(move |instance| instance.with_weight(weight))
    }

    /// In this group: those of a higher number are used when those of the lower ones cannot take it. 0 by default.
    pub fn priority(self, priority: u32) -> Self {
        self.described(move |instance| instance.with_priority(priority))
    }

    /// Standing there: clients of the same zone may prefer it.
    pub fn zone(self, zone: impl Into<Arc<str>>) -> Self {
        let zone = zone.into();
        self.described(move |instance| instance.with_zone(zone.clone()))
    }

    /// With a label.
    pub fn label(self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.described(move |instance| instance.with_label(name.clone(), value.clone()))
    }

    fn described(self, more: impl Fn(Instance) -> Instance + Send + Sync + 'static) -> Self {
        let before = self.describe;
        Register { describe: Arc::new(move |instance| more(before(instance))), ..self }
    }

    /// The server listens there.
    pub(crate) fn complete(&mut self, listens: &Address) -> io::Result<()> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let address: Address = match &self.advertised {
            Some(address) => address.parse().map_err(|error| invalid(format!("{error}")))?,
            None => listens.clone(),
        };
        if matches!(address.host(), Some("0.0.0.0" | "::" | "[::]")) {
            let why = format!(
                "{address} is no address for others to connect to: say which one is registered by Register::advertise"
            );
            return Err(invalid(why));
        }
        let address: Arc<str> = address.to_string().into();
        let instance = (self.describe)(Instance::new(address.clone()));
        instance.check().map_err(|error| invalid(format!("this cannot be registered: {error}")))?;
        self.advertised = Some(address);
        Ok(())
    }

    /// Registers a server in all of them.
    pub(crate) fn begin(all: &[Register]) -> Vec<Registration> {
        all.iter().filter_map(Register::start).collect()
    }

    /// Takes it out again.
    pub(crate) async fn leave(registered: Vec<Registration>) {
        let leaving: Vec<_> = registered.into_iter().map(|one| tokio::spawn(one.deregister())).collect();
        for left in leaving {
            if let Ok(Err(error)) = left.await {
                tracing::warn!(%error, "a server drains that is still registered");
            }
        }
    }

    fn start(&self) -> Option<Registration> {
        let address = self.advertised.clone()?;
        let instance = (self.describe)(Instance::new(address));
        let started = (self.start)(self.service.clone(), instance, self.ears.clone());
        started.inspect_err(|error| tracing::error!(service = %self.service, %error, "not registered")).ok()
    }
}

/// The address and the service of a `registry://` URL.
fn parse(url: &str) -> Result<(String, &str), Error> {
    let refuse = |why: &str| {
        let why = format!("{url:?} names no registry: {why}; it looks like registry://10.0.0.2:7700/orders");
        Error::new(ErrorKind::ConnectFailed).because(why)
    };
    let target = Target::parse(url).map_err(|error| refuse(&error.to_string()))?;
    if target.scheme() != "registry" {
        return Err(refuse("the scheme is another one"));
    }
    target.only(&["scheme"]).map_err(|error| refuse(&error.to_string()))?;
    let scheme = match target.option("scheme") {
        None | Some("mcp") => "mcp",
        Some("mcps") => "mcps",
        Some(_) => return Err(refuse("scheme is neither mcp nor mcps")),
    };
    match target.rest().split_once('/') {
        Some((place, service)) if !service.is_empty() => Ok((format!("{scheme}://{place}"), service)),
        _ => Err(refuse("the service is missing")),
    }
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Register")
            .field("service", &self.service)
            .field("advertised", &self.advertised)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_registry::Registry;

    #[test]
    fn a_url_of_a_registry() {
        assert_eq!(parse("registry://a:1/orders").unwrap(), ("mcp://a:1".to_owned(), "orders"));
        assert_eq!(parse("registry://a:1/orders?scheme=mcps").unwrap(), ("mcps://a:1".to_owned(), "orders"));
        for (url, why) in [
            ("mcp://a:1/orders", "the scheme is another one"),
            ("registry://a:1", "the service is missing"),
            ("registry://a:1/", "the service is missing"),
            ("registry://a:1/b?scheme=http", "neither mcp nor mcps"),
            ("registry://a:1/b?weight=3", "weight"),
        ] {
            let refused = parse(url).unwrap_err();
            assert!(refused.detail().contains(why), "{refused}");
        }
    }

    #[test]
    fn what_nobody_can_connect_to_is_not_registered() {
        let router = Registry::new().router();
        let complete = |register: Register, listens: &str| {
            let mut register = register;
            register.complete(&listens.parse().unwrap()).map(|()| register.advertised.unwrap())
        };
        let orders = || Register::over(router.clone(), "orders");
        assert_eq!(&*complete(orders(), "mcp://127.0.0.1:80").unwrap(), "mcp://127.0.0.1:80");
        assert_eq!(&*complete(orders(), "mcp+unix:/run/a.sock").unwrap(), "mcp+unix:/run/a.sock");
        for listens in ["mcp://0.0.0.0:80", "mcp://[::]:80"] {
            let refused = complete(orders(), listens).unwrap_err();
            assert!(refused.to_string().contains("Register::advertise"), "{refused}");
            assert_eq!(&*complete(orders().advertise("mcp://a:80"), listens).unwrap(), "mcp://a:80");
        }
        assert!(complete(orders().advertise("a b"), "mcp://0.0.0.0:80").is_err());
        assert!(complete(orders().weight(u32::MAX), "mcp://127.0.0.1:80").is_err());
    }
}

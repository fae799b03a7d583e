//! A registry as a source of endpoints.

use crate::{
    RegistryClient,
    wire::{self, Answer, check_service},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};
use tower_service::Service;
use towpath_core::{BoxError, Clock, Request, Response};
use towpath_discover::{BoxSource, Instance, InvalidTarget, Source, Target, Update};

/// How long a watch asks the registry to wait.
const WAIT: Duration = Duration::from_secs(30);

/// How much longer it waits for the answer.
const SLACK: Duration = Duration::from_secs(5);

/// From one question to the next, at least: what changes meanwhile comes in one answer.
const PACE: Duration = Duration::from_millis(50);

/// The instances of one service, as a registry has them: by watches that wait (30 s) for something to happen.
///
/// It starts again when the registry does. Until everybody has had the time to register there again, nobody who is
/// missing from its lists is taken for gone.
#[derive(Debug)]
pub struct RegistrySource<S> {
    client: RegistryClient<S>,
    service: Arc<str>,
    epoch: String,
    index: u64,
    complete: bool,
    not_before: Option<Instant>,
}

impl<S> RegistrySource<S>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
{
    /// The instances of a service.
    pub fn new(client: RegistryClient<S>, service: impl Into<Arc<str>>) -> Self {
        RegistrySource {
            client,
            service: service.into(),
            epoch: String::new(),
            index: 0,
            complete: true,
            not_before: None,
        }
    }

    /// What the answer says, and what is to be asked next.
    fn take(&mut self, answer: Answer) -> Option<Update> {
        let Answer { epoch, index, complete, full, instances, removed } = answer;
        // The count has begun again, at a registry that does not say so itself.
        if !full && (epoch != self.epoch || index < self.index) {
            (self.epoch, self.index) = (String::new(), 0);
            return None;
        }
        (self.epoch, self.index, self.complete) = (epoch, index, complete);
        let changed: Vec<_> = instances.into_iter().map(Instance::from).collect();
        Some(match full {
            true if complete => Update::Full(changed),
            false if changed.is_empty() && removed.is_empty() => Update::Unchanged,
            _ => Update::Delta { changed, removed },
        })
    }
}

impl<S> Source for RegistrySource<S>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
{
    fn about(&self) -> String {
        format!("a registry, service {}", self.service)
    }

    async fn next(&mut self) -> Result<Option<Update>, BoxError> {
        loop {
            if let Some(not_before) = self.not_before {
                sleep_until(not_before).await;
            }
            let ask = wire::Watch {
                service: self.service.clone(),
                epoch: self.epoch.clone(),
                index: self.index,
                complete: self.complete,
                wait_ms: WAIT.as_millis() as u64,
            };
            let begin = Clock::now();
            let answered = self.client.clone().watch(ask, WAIT + SLACK).await;
            self.not_before = Some(begin + PACE);
            if let Some(update) = self.take(answered?) {
                return Ok(Some(update));
            }
        }
    }

    fn refresh(&mut self) {
        (self.epoch, self.index, self.not_before) = (String::new(), 0, None);
    }
}

/// Opens `registry://host:port/service` for [`Sources::with`](towpath_discover::Sources::with); `connect` makes the
/// client of an address, `mcp://host:port`, or `mcps://host:port` where the URL says `?scheme=mcps`. It does so lazily:
/// it neither waits nor spawns.
///
/// ```
/// use towpath_discover::{Directory, Sources};
/// use towpath_registry::{Registry, registry_source};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // In a program, `connect` is `|address| Client::connect_lazy(address)`.
/// let registry = Registry::new();
/// let router = registry.router();
/// let sources = Sources::new().with("registry", registry_source(move |_address| Ok::<_, String>(router.clone())));
/// let directory = Directory::builder().sources(sources).build();
/// let watch = directory.watch("registry://10.0.0.1:7700/orders")?;
/// # drop(watch);
/// # Ok(())
/// # }
/// ```
pub fn registry_source<S, E>(
    connect: impl Fn(&str) -> Result<S, E> + Send + Sync + 'static,
) -> impl Fn(&Target<'_>) -> Result<BoxSource, InvalidTarget> + Send + Sync + 'static
where
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
    E: std::fmt::Display,
{
    move |target| {
        target.only(&["scheme"])?;
        let scheme = match target.option("scheme") {
            None | Some("mcp") => "mcp",
            Some("mcps") => "mcps",
            Some(_) => return Err(target.refuse("scheme is neither mcp nor mcps")),
        };
        let Some((place, service)) = target.rest().split_once('/') else {
            return Err(target.refuse("the service is missing: registry://host:port/service"));
        };
        check_service(service).map_err(|why| target.refuse(why))?;
        let client = connect(&format!("{scheme}://{place}")).map_err(|why| target.refuse(why.to_string()))?;
        Ok(BoxSource::new(RegistrySource::new(RegistryClient::new(client), service)))
    }
}

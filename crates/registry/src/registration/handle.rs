//! A registration as a handle.

use super::{config::RegistrationConfig, task::Task};
use crate::{RegistrationEvent, RegistryClient, wire::check_service};
use std::{fmt, sync::Arc};
use tokio::{runtime::Handle, sync::watch, time::timeout};
use tower_service::Service;
use towpath_core::{BoxError, Error, ErrorKind, Observe, Request, Response};
use towpath_discover::Instance;

/// Keeps an instance of a service registered for as long as it is held: registers, sends heartbeats, registers again
/// when the registry has lost it or was restarted. All that is done by a task of its own; whoever serves never waits for
/// a registry.
///
/// When it is dropped, the instance is deregistered in the background; [`deregister`](Self::deregister) waits for that.
/// A process that dies without either is taken out when its lease runs out.
///
/// ```
/// use towpath_discover::Instance;
/// use towpath_registry::{Registration, Registry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new();
/// let instance = Instance::new("mcp://10.0.0.7:8080").with_zone("eu-1a");
/// let registration = Registration::start(registry.client(), "orders", instance)?;
/// registration.registered().await?;
/// assert_eq!(registry.list("orders").len(), 1);
/// registration.deregister().await?;
/// assert!(registry.list("orders").is_empty());
/// # Ok(())
/// # }
/// ```
pub struct Registration {
    service: Arc<str>,
    config: RegistrationConfig,
    wanted: watch::Sender<Instance>,
    progress: watch::Receiver<Progress>,
}

/// How far the task has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) registered: bool,
    pub(super) error: Option<Error>,
    pub(super) failures: u32,
    /// All failures there were.
    pub(super) failed: u64,
    /// How it took its leave.
    pub(super) left: Option<Result<(), Error>>,
}

/// A registration at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistrationStatus {
    /// Whether the registry has it, as far as is known.
    pub registered: bool,
    /// How often in a row the registry was not reached, or refused.
    pub failures: u32,
    /// Why, the last time.
    pub error: Option<Error>,
}

/// What cannot be registered, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRegistration(String);

impl Registration {
    /// Registers an instance, with the default config, and keeps it registered. The instance's
    /// [key](Instance::key) is its id: its address, if it has none.
    ///
    /// # Errors
    /// If the name of the service or what the instance says is out of bounds, or this is no place to start a task from.
    pub fn start<S>(
        client: RegistryClient<S>,
        service: impl Into<Arc<str>>,
        instance: Instance,
    ) -> Result<Self, InvalidRegistration>
    where
        S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        Registration::start_with(client, service, instance, RegistrationConfig::default(), ())
    }

    /// The same with a config, and with one who hears what happens.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with<S>(
        client: RegistryClient<S>,
        service: impl Into<Arc<str>>,
        instance: Instance,
        config: RegistrationConfig,
        observe: impl Observe<RegistrationEvent> + Send + Sync + 'static,
    ) -> Result<Self, InvalidRegistration>
    where
        S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        let service = service.into();
        check_service(&service).map_err(InvalidRegistration)?;
        instance.check().map_err(|why| InvalidRegistration(why.to_string()))?;
        let runtime = Handle::try_current().map_err(|_| {
            InvalidRegistration("a registration is started from within a tokio runtime".into())
        })?;
        let (wanted, wishes) = watch::channel(instance);
        let (told, progress) = watch::channel(Progress::default());
        let observe = Arc::new(observe);
        let task = Task { client, service: service.clone(), config, observe, wanted: wishes, progress: told };
        runtime.spawn(task.run());
        Ok(Registration { service, config, wanted, progress })
    }

    /// The service.
    pub fn service(&self) -> &Arc<str> {
        &self.service
    }

    /// What the instance says of itself.
    pub fn instance(&self) -> Instance {
        self.wanted.borrow().clone()
    }

    /// Says something else of the same instance: another weight, a label, that it takes nothing new. It keeps its id.
    ///
    /// # Errors
    /// If it is out of bounds; then it stays as it was.
    pub fn describe(&self, change: impl FnOnce(Instance) -> Instance) -> Result<(), InvalidRegistration> {
        let before = self.instance();
        let id = before.key().clone();
        let after = change(before.clone()).with_key(id);
        after.check().map_err(|why| InvalidRegistration(why.to_string()))?;
        if after != before {
            self.wanted.send_replace(after);
        }
        Ok(())
    }

    /// What is known of it at this moment.
    pub fn status(&self) -> RegistrationStatus {
        let Progress { registered, failures, error, .. } = &*self.progress.borrow();
        RegistrationStatus { registered: *registered, failures: *failures, error: error.clone() }
    }

    /// Waits until it is registered.
    ///
    /// Cancel safety: nothing is lost, it is registered in the background.
    ///
    /// # Errors
    /// With what the next attempt fails. It is tried again all the same.
    pub async fn registered(&self) -> Result<(), Error> {
        let mut progress = self.progress.clone();
        let failed = progress.borrow().failed;
        let seen = progress.wait_for(|progress| progress.registered || progress.failed != failed).await;
        match seen {
            Ok(seen) if seen.registered => Ok(()),
            Ok(seen) => Err(seen.error.clone().unwrap_or_else(gone)),
            Err(_) => Err(gone()),
        }
    }

    /// Takes the instance out, and waits until that is done; not longer than the config's timeout.
    ///
    /// Cancel safety: it is done in the background all the same.
    ///
    /// # Errors
    /// If the registry was not reached in time: then the lease runs out by itself, and clients learn of it then.
    pub async fn deregister(self) -> Result<(), Error> {
        let Registration { service, config, wanted, mut progress } = self;
        drop(wanted);
        let done = async {
            match progress.wait_for(|progress| progress.left.is_some()).await {
                Ok(seen) => seen.left.clone().unwrap_or_else(|| Err(gone())),
                Err(_) => Err(gone()),
            }
        };
        timeout(config.timeout(), done).await.unwrap_or_else(|_| {
            let why = format!(
                "{service} was not deregistered within {:?}; its lease runs out by itself",
                config.timeout()
            );
            Err(Error::new(ErrorKind::DeadlineExceeded).because(why))
        })
    }
}

/// The task was ended from outside.
fn gone() -> Error {
    Error::new(ErrorKind::Cancelled).because("the runtime of the registration has ended")
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("service", &self.service)
            .field("instance", &self.instance())
            .field("status", &self.status())
            .finish()
    }
}

impl fmt::Display for InvalidRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this cannot be registered: {}", self.0)
    }
}

impl std::error::Error for InvalidRegistration {}

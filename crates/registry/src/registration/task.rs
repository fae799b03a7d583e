//! The task that keeps an instance registered, for as long as somebody has the registration.

use super::{
    config::RegistrationConfig,
    handle::Progress,
    plan::{Ask, Plan},
};
use crate::{RegistrationEvent, RegistryClient, RegistryError, wire::Leased};
use fastrand::Rng;
use std::sync::Arc;
use tokio::{sync::watch, time::sleep_until};
use tower_service::Service;
use towpath_core::{BoxError, Clock, Error, Observe, Request, Response};
use towpath_discover::Instance;

pub(super) struct Task<S> {
    pub(super) client: RegistryClient<S>,
    pub(super) service: Arc<str>,
    pub(super) config: RegistrationConfig,
    pub(super) observe: Arc<dyn Observe<RegistrationEvent> + Send + Sync>,
    /// What it should be registered as; closed when nobody wants it registered any more.
    pub(super) wanted: watch::Receiver<Instance>,
    pub(super) progress: watch::Sender<Progress>,
}

impl<S> Task<S>
where
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
{
    pub(super) async fn run(mut self) {
        let (mut plan, mut rng) = (Plan::new(Clock::now()), Rng::new());
        loop {
            tokio::select! {
                biased;
                changed = self.wanted.changed() => match changed {
                    Ok(()) => plan.describe(Clock::now()),
                    Err(_) => break,
                },
                // A question is not given up when something else is wanted: it may have been heard already.
                () = sleep_until(plan.due()) => self.step(&mut plan, &mut rng).await,
            }
        }
        let left = match plan.lease() {
            Some(lease) => self.client.clone().deregister(lease.to_owned(), self.config.timeout()).await,
            None => Ok(false),
        };
        if left.is_ok() {
            tracing::debug!(service = %self.service, "deregistered");
            self.observe.observe(&RegistrationEvent::Deregistered);
        }
        let left = left.map(drop).map_err(|error| self.error(error));
        self.progress.send_modify(|progress| progress.left = Some(left));
    }

    async fn step(&mut self, plan: &mut Plan, rng: &mut Rng) {
        let ask = plan.ask();
        let is_new = matches!(ask, Ask::Register(_));
        match self.ask(ask).await {
            Ok(leased) => {
                let stale = self.wanted.has_changed().unwrap_or(false);
                if stale {
                    // The newest is read when it is asked for.
                    self.wanted.mark_unchanged();
                }
                plan.leased(leased, stale, Clock::now(), rng);
                self.progress.send_modify(|progress| {
                    progress.registered = true;
                    (progress.error, progress.failures) = (None, 0);
                });
                if is_new {
                    tracing::info!(service = %self.service, "registered");
                    self.observe.observe(&RegistrationEvent::Registered);
                }
            }
            Err(error) if error.is_unknown_lease() => {
                tracing::warn!(service = %self.service, "the registry does not know the lease any more: registering again");
                plan.lost(Clock::now());
                self.progress.send_modify(|progress| progress.registered = false);
                self.observe.observe(&RegistrationEvent::Lost);
            }
            Err(error) => {
                let error = self.error(error);
                let retry_in = plan.failed(Clock::now(), &self.config.backoff(), rng);
                let failures = plan.failures();
                if failures == 1 {
                    tracing::warn!(service = %self.service, %error, ?retry_in, "not registered: it is tried again");
                } else {
                    tracing::debug!(service = %self.service, %error, failures, ?retry_in, "not registered");
                }
                self.progress.send_modify(|progress| {
                    progress.error = Some(error.clone());
                    progress.failures = failures;
                    progress.failed += 1;
                });
                self.observe.observe(&RegistrationEvent::Failed { error, failures, retry_in });
            }
        }
    }

    async fn ask(&mut self, ask: Ask) -> Result<Leased, RegistryError> {
        let (client, timeout) = (self.client.clone(), self.config.timeout());
        match ask {
            Ask::Register(lease) => {
                let instance = self.wanted.borrow_and_update().clone();
                client.register(self.service.clone(), instance, lease, timeout).await
            }
            Ask::Heartbeat(lease) => client.heartbeat(lease, timeout).await,
        }
    }

    /// What failed, for whom, and what to do.
    fn error(&self, error: RegistryError) -> Error {
        let why = match &error {
            RegistryError::Call(error) => format!(
                "{} could not be registered: {error}; until it is, clients do not find it here",
                self.service
            ),
            other => format!("{} could not be registered: {other}", self.service),
        };
        let error = Error::from(error);
        Error::wrapping(error.kind(), error).because(why)
    }
}

//! What the breakers of a layer have in common.

use crate::{BreakerConfig, BreakerEvent, TripPolicy};
use std::sync::Arc;
use towpath_core::{Live, Observe};

/// What the breakers of a layer have in common.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) config: Live<BreakerConfig>,
    pub(crate) trip: Option<Arc<dyn TripPolicy>>,
    pub(crate) observe: Option<Arc<dyn Observe<BreakerEvent> + Send + Sync>>,
}

impl Settings {
    pub(crate) fn report(&self, event: &BreakerEvent) {
        if let Some(observe) = &self.observe {
            observe.observe(event);
        }
    }
}

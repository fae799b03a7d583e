//! Who hears that a server serves, and that it is about to drain.

use crate::register::Register;
use std::time::Duration;
use tokio::{join, time::sleep};
use towpath_health::Readiness;
use towpath_transport::ToldToDrain;

/// Those whom a server lets know.
#[derive(Clone, Default)]
pub(crate) struct Announce {
    pub(crate) register: Vec<Register>,
    pub(crate) readiness: Vec<Readiness>,
    /// For how long it serves on when they know that it is about to drain.
    pub(crate) delay: Duration,
}

impl Announce {
    pub(crate) fn is_empty(&self) -> bool {
        self.register.is_empty() && self.readiness.is_empty() && self.delay.is_zero()
    }

    /// Lets them know that the server serves, and when it is told to drain, that it does not any more.
    pub(crate) async fn keep(self, told: ToldToDrain) {
        let Announce { register, readiness, delay } = self;
        let registered = Register::begin(&register);
        let ready = Ready::begin(readiness);
        told.await;
        drop(ready);
        let pass_on = async {
            if !delay.is_zero() {
                sleep(delay).await;
            }
        };
        join!(Register::leave(registered), pass_on);
    }
}

/// Ready while the server serves. One that is dropped undrained is not ready any more either.
struct Ready(Vec<Readiness>);

impl Ready {
    fn begin(all: Vec<Readiness>) -> Self {
        all.iter().for_each(|one| one.set_ready(true));
        Ready(all)
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.0.iter().for_each(Readiness::drain);
    }
}

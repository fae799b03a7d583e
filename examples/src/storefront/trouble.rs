//! Carries the faults' schedule out on the open shop.

use super::{
    faults::{Event, Plan, Schedule, Service, draw_resets},
    report::FaultsSeen,
    shop::{Place, REPLICAS, Shop},
};
use fastrand::Rng;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// Faults that are happening.
pub(crate) struct Trouble {
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<FaultsSeen>>,
}

impl Trouble {
    /// Begins.
    pub(crate) fn begin(shop: Arc<Shop>, plan: Plan, seed: u64) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut seen = FaultsSeen::default();
            let mut rng = Rng::with_seed(seed);
            tokio::select! {
                result = carry_out(&shop, plan, seed, &mut rng, &mut seen) => result?,
                _ = stopped => {}
            }
            calm_down(&shop)?;
            seen.transient = shop.transient_faults();
            Ok(seen)
        });
        Trouble { stop, task }
    }

    /// Ends: whoever is dead is back, nothing else happens. Returns what did.
    pub(crate) async fn end(self) -> io::Result<FaultsSeen> {
        // If the task is over, it has failed, and says so below.
        let _ = self.stop.send(());
        self.task.await.map_err(io::Error::other)?
    }
}

async fn carry_out(
    shop: &Shop,
    plan: Plan,
    seed: u64,
    rng: &mut Rng,
    seen: &mut FaultsSeen,
) -> io::Result<()> {
    let start = Instant::now();
    let mut schedule = Schedule::new(plan, REPLICAS, seed).peekable();
    while let Some((at, event)) = schedule.next() {
        sleep_until(start + at).await;
        let place = |service: usize, replica: usize| &shop.places[service][replica];
        match event {
            Event::Dies { service, replica } => {
                place(service, replica).replica.die().await?;
                seen.deaths += 1;
            }
            Event::Revives { service, replica } => place(service, replica).replica.revive()?,
            Event::Freezes { service, replica } => {
                place(service, replica).replica.set_frozen(true);
                seen.freezes += 1;
            }
            Event::Thaws { service, replica } => place(service, replica).replica.set_frozen(false),
            Event::Joins { service } => {
                shop.join(service).await?;
                seen.joined += 1;
            }
            Event::Leaves { service } => shop.leave(service),
            Event::Slows { service, replica } => {
                place(service, replica).conditions.set_slow(true);
                seen.slow_phases += 1;
            }
            Event::Recovers { service, replica } => place(service, replica).conditions.set_slow(false),
            Event::Resets { service } => {
                // Services whose turn is at the same moment are drawn for together.
                let mut services = vec![service];
                while let Some(service) = resets_at(schedule.peek(), at) {
                    services.push(service);
                    schedule.next();
                }
                seen.resets += reset(shop, &plan, &services, rng);
            }
        }
    }
    // Nothing ever goes wrong.
    std::future::pending().await
}

fn resets_at(next: Option<&(Duration, Event)>, at: Duration) -> Option<usize> {
    match next {
        Some((then, Event::Resets { service })) if *then == at => Some(*service),
        _ => None,
    }
}

fn reset(shop: &Shop, plan: &Plan, services: &[usize], rng: &mut Rng) -> u64 {
    let places: Vec<(&Place, f64)> = services
        .iter()
        .flat_map(|service| {
            let share = plan[Service::ALL[*service]].reset_share;
            shop.places[*service].iter().map(move |place| (place, share))
        })
        .collect();
    let groups: Vec<(usize, f64)> =
        places.iter().map(|(place, share)| (place.replica.open(), *share)).collect();
    let mut drawn = draw_resets(rng, &groups);
    // From the last on, so that the numbers of the others stay.
    drawn.sort_unstable();
    for (group, n) in drawn.iter().rev() {
        places[*group].0.replica.reset(*n);
    }
    drawn.len() as u64
}

fn calm_down(shop: &Shop) -> io::Result<()> {
    for place in shop.places.iter().flatten() {
        place.conditions.calm_down();
        place.replica.set_frozen(false);
        place.replica.revive()?;
    }
    Ok(())
}

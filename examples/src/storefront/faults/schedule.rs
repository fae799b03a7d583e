//! When what goes wrong, and where: a pure list without end, the same for the same seed.

use super::{Plan, Service};
use fastrand::Rng;
use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

/// Something that happens to the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A replica's listener and connections go away.
    Dies { service: usize, replica: usize },
    /// It is back.
    Revives { service: usize, replica: usize },
    /// A replica stops where it is, with its connections open.
    Freezes { service: usize, replica: usize },
    /// It goes on.
    Thaws { service: usize, replica: usize },
    /// One more replica comes.
    Joins { service: usize },
    /// It goes, as a well-behaved server does.
    Leaves { service: usize },
    /// A replica turns slow.
    Slows { service: usize, replica: usize },
    /// It is as fast as ever again.
    Recovers { service: usize, replica: usize },
    /// Connections of a service are reset; events of one moment are drawn for together.
    Resets { service: usize },
}

/// Events in the order of their times, counted from the start.
pub(crate) struct Schedule {
    plan: Plan,
    replicas: usize,
    rng: Rng,
    due: BinaryHeap<Reverse<(Duration, Event)>>,
}

impl Schedule {
    /// A schedule for services of so many replicas each.
    ///
    /// The first death of a service comes within the first period, and each service's at another time: the
    /// i-th of n after i/(n+1) of it. The first slow phase begins at once: a day may be over in a
    /// tenth of a second.
    pub(crate) fn new(plan: Plan, replicas: usize, seed: u64) -> Self {
        let mut schedule = Schedule { plan, replicas, rng: Rng::with_seed(seed), due: BinaryHeap::new() };
        let services = Service::ALL.len() as u32;
        for (service, name) in Service::ALL.into_iter().enumerate() {
            let knobs = plan[name];
            if !knobs.die_every.is_zero() && !knobs.die_for.is_zero() {
                let first = knobs.die_every * (service as u32 + 1) / (services + 1);
                let replica = schedule.any_replica();
                schedule.add(first, Event::Dies { service, replica });
            }
            if !knobs.freeze_every.is_zero() && !knobs.freeze_for.is_zero() {
                // Between two deaths of the usual plan.
                let first = knobs.freeze_every * (2 * service as u32 + 1) / (2 * (services + 1));
                let replica = schedule.any_replica();
                schedule.add(first, Event::Freezes { service, replica });
            }
            if !knobs.join_every.is_zero() && !knobs.join_for.is_zero() {
                let first = knobs.join_every * (2 * service as u32 + 1) / (2 * services);
                schedule.add(first, Event::Joins { service });
            }
            if !knobs.slow_every.is_zero() && !knobs.slow_for.is_zero() {
                let replica = schedule.any_replica();
                schedule.add(Duration::ZERO, Event::Slows { service, replica });
            }
            if !knobs.reset_every.is_zero() && knobs.reset_share > 0.0 {
                schedule.add(knobs.reset_every, Event::Resets { service });
            }
        }
        schedule
    }

    fn any_replica(&mut self) -> usize {
        self.rng.usize(0..self.replicas)
    }

    fn add(&mut self, at: Duration, event: Event) {
        self.due.push(Reverse((at, event)));
    }
}

impl Iterator for Schedule {
    type Item = (Duration, Event);

    /// The next event; `None` only if nothing ever goes wrong.
    fn next(&mut self) -> Option<(Duration, Event)> {
        let Reverse((at, event)) = self.due.pop()?;
        match event {
            Event::Dies { service, replica } => {
                let knobs = self.plan[Service::ALL[service]];
                self.add(at + knobs.die_for, Event::Revives { service, replica });
                let replica = self.any_replica();
                self.add(at + knobs.die_every, Event::Dies { service, replica });
            }
            Event::Freezes { service, replica } => {
                let knobs = self.plan[Service::ALL[service]];
                self.add(at + knobs.freeze_for, Event::Thaws { service, replica });
                let replica = self.any_replica();
                self.add(at + knobs.freeze_every, Event::Freezes { service, replica });
            }
            Event::Joins { service } => {
                let knobs = self.plan[Service::ALL[service]];
                self.add(at + knobs.join_for, Event::Leaves { service });
                self.add(at + knobs.join_every, event);
            }
            Event::Slows { service, replica } => {
                let knobs = self.plan[Service::ALL[service]];
                self.add(at + knobs.slow_for, Event::Recovers { service, replica });
                let replica = self.any_replica();
                self.add(at + knobs.slow_every, Event::Slows { service, replica });
            }
            Event::Resets { service } => {
                self.add(at + self.plan[Service::ALL[service]].reset_every, event);
            }
            Event::Revives { .. } | Event::Thaws { .. } | Event::Leaves { .. } | Event::Recovers { .. } => {}
        }
        Some((at, event))
    }
}

/// Draws which connections are reset, as (group, index): `groups` are the open ones of services that are due,
/// with their shares. At least one is, if any is open.
pub(crate) fn draw_resets(rng: &mut Rng, groups: &[(usize, f64)]) -> Vec<(usize, usize)> {
    let expected: f64 = groups.iter().map(|(open, share)| *open as f64 * share).sum();
    let open: usize = groups.iter().filter(|(_, share)| *share > 0.0).map(|(open, _)| open).sum();
    let count = (expected.round() as usize).max(1).min(open);
    let mut drawn: Vec<(usize, usize)> = Vec::with_capacity(count);
    while drawn.len() < count {
        let mut point = rng.f64() * expected;
        let group = groups.iter().position(|(open, share)| {
            point -= *open as f64 * share;
            point < 0.0
        });
        // The point may fall off the end by rounding: draw again.
        let Some(group) = group else { continue };
        let one = (group, rng.usize(0..groups[group].0));
        if !drawn.contains(&one) {
            drawn.push(one);
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(plan: Plan, seed: u64, until: u64) -> Vec<(Duration, Event)> {
        Schedule::new(plan, 3, seed).take_while(|(at, _)| *at < Duration::from_secs(until)).collect()
    }

    #[test]
    fn a_seed_is_a_schedule_in_order() {
        let first = events(Plan::usual(), 1, 60);
        assert_eq!(first, events(Plan::usual(), 1, 60));
        assert_ne!(first, events(Plan::usual(), 2, 60));
        assert!(first.is_sorted_by_key(|(at, _)| *at));
        assert!(events(Plan::none(), 1, 60).is_empty());
    }

    #[test]
    fn the_usual_plan_over_a_minute() {
        let events = events(Plan::usual(), 3, 60);
        for service in 0..Service::ALL.len() {
            let count = |of: fn(&Event, usize) -> bool| events.iter().filter(|(_, e)| of(e, service)).count();
            assert_eq!(count(|e, s| matches!(e, Event::Dies { service, .. } if *service == s)), 6);
            assert_eq!(count(|e, s| matches!(e, Event::Freezes { service, .. } if *service == s)), 3);
            assert_eq!(count(|e, s| matches!(e, Event::Joins { service, .. } if *service == s)), 6);
            assert_eq!(count(|e, s| matches!(e, Event::Resets { service } if *service == s)), 59);
            let slow = if Service::ALL[service] == Service::Inventory { 3 } else { 0 };
            assert_eq!(count(|e, s| matches!(e, Event::Slows { service, .. } if *service == s)), slow);
        }
    }

    #[test]
    fn who_dies_revives_and_nobody_else_of_the_service_dies_meanwhile() {
        let mut dead = [None; Service::ALL.len()];
        let mut pairs = 0;
        for (at, event) in events(Plan::usual(), 4, 300) {
            match event {
                Event::Dies { service, replica } => {
                    assert_eq!(dead[service].replace((replica, at)), None);
                }
                Event::Revives { service, replica } => {
                    let (who, since) = dead[service].take().unwrap();
                    assert_eq!((who, at - since), (replica, Duration::from_secs(2)));
                    pairs += 1;
                }
                _ => {}
            }
        }
        assert!(pairs > 100);
    }

    #[test]
    fn a_share_of_the_open_connections_is_reset_but_at_least_one() {
        let rng = &mut Rng::with_seed(5);
        assert_eq!(draw_resets(rng, &[(10, 0.005), (20, 0.005)]).len(), 1);
        let many = draw_resets(rng, &[(1_000, 0.005), (1_000, 0.02)]);
        assert_eq!(many.len(), 25);
        assert!(many.iter().all(|(group, i)| *group < 2 && *i < 1_000));
        assert!(many.iter().filter(|(group, _)| *group == 1).count() > 12);
        assert_eq!(draw_resets(rng, &[(3, 1.0)]).len(), 3);
        assert!(draw_resets(rng, &[(0, 0.5)]).is_empty());
        assert!(draw_resets(rng, &[(7, 0.0)]).is_empty());
    }
}

//! What happens in a simulation.

use crate::world::{Latency, Make, Order};
use std::{ops::Range, time::Duration};

/// A fleet, its callers, and what happens to it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens, in a sentence.
    pub about: &'static str,
    /// How many clients there are, each with a balancer and connections of its own.
    pub clients: usize,
    /// How many calls all of them make in a second.
    pub per_second: f64,
    /// For how long it is watched.
    pub seconds: usize,
    /// What the tables tell apart.
    pub phases: Vec<Phase>,
    /// One for each server.
    pub(crate) servers: Vec<Site>,
    /// What happens when, to which servers.
    pub(crate) course: Vec<Event>,
}

/// A part of the time in which something is wrong, or nothing.
#[derive(Clone, Debug)]
pub struct Phase {
    /// What it is called in tables.
    pub name: &'static str,
    /// What happens.
    pub about: &'static str,
    /// From which second to which.
    pub seconds: Range<usize>,
}

/// One server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    pub(crate) make: Make,
    pub(crate) weight: u32,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) to: Vec<usize>,
    pub(crate) order: Order,
}

/// How long callers wait.
pub const PATIENCE: Duration = Duration::from_secs(1);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// 4 workers, 24 ms on average: at most 167 calls a second.
const SITE: Site = Site {
    make: Make {
        workers: 4,
        line: 32,
        takes: Latency { median: ms(20), spread: 0.6 },
        handshake: ms(1),
        warm_up: s(2),
    },
    weight: 1,
};

/// How many calls come to each server in a second on average: half of what it can do.
const PER_SERVER: f64 = 80.0;

impl Scenario {
    /// One server of eleven answers after 2 s for a third of the time. There is one client, and nothing but this one's
    /// latency is scarce.
    pub fn eleven() -> Scenario {
        let site = Site { make: Make { workers: 100_000, ..SITE.make }, weight: 1 };
        let takes = |at, time| Event { at: s(at), to: vec![5], order: Order::Takes(time) };
        Scenario {
            name: "eleven",
            about: "11 servers, one of which answers after 2 s from second 30 to 60",
            clients: 1,
            per_second: 1_000.0,
            seconds: 90,
            phases: vec![phase("one is slow", "one server answers after 2 s", 30..60)],
            servers: vec![site; 11],
            course: vec![takes(30, Some(s(2))), takes(60, None)],
        }
    }

    /// How long [`sizes`](Self::sizes) is watched.
    pub const SIZES_SECONDS: usize = 60;

    /// Servers of three sizes, with the weights that say so: of the large ones one becomes slow, and another one dies.
    pub fn sizes(clients: usize) -> Scenario {
        let site = |workers, weight| Site { make: Make { workers, ..SITE.make }, weight };
        let event = |at, server, order| Event { at: s(at), to: vec![server], order };
        Scenario {
            name: "sizes",
            about: "12 servers with weights of 1, 2 and 4, which have 2, 4 and 8 workers, four of each",
            clients,
            per_second: 1_400.0,
            seconds: Self::SIZES_SECONDS,
            phases: vec![
                phase("calm", "nothing happens", 0..20),
                phase("slow", "one of the large ones takes ten times as long", 20..35),
                phase("gone", "another one of the large ones is dead", 40..55),
            ],
            servers: [[site(2, 1); 4], [site(4, 2); 4], [site(8, 4); 4]].concat(),
            course: vec![
                event(20, 10, Order::Slow(10.0)),
                event(35, 10, Order::Slow(1.0)),
                event(40, 11, Order::Stop),
                event(55, 11, Order::Start),
            ],
        }
    }

    /// How long [`fleet`](Self::fleet) is watched.
    pub const FLEET_SECONDS: usize = 145;

    /// All that happens to a fleet, one thing after another, with quiet times between.
    pub fn fleet(clients: usize, servers: usize) -> Scenario {
        let tenth = || some(servers, 10);
        let third = || some(servers, 3);
        let event = |at, to, order| Event { at: s(at), to, order };
        let mut course = vec![
            event(10, tenth(), Order::Slow(10.0)),
            event(25, tenth(), Order::Slow(1.0)),
            event(35, tenth(), Order::Fail(1.0)),
            event(50, tenth(), Order::Fail(0.0)),
            event(60, third(), Order::Silent(true)),
            event(80, third(), Order::Silent(false)),
            event(125, third(), Order::Stop),
            event(130, third(), Order::Start),
        ];
        for batch in 0..10 {
            let at = s(90) + ms(2_500) * batch as u32;
            let to: Vec<_> = (servers * batch / 10..servers * (batch + 1) / 10).collect();
            let steps = [(s(0), Order::Drain), (s(1), Order::Stop), (s(2), Order::Start)];
            course.extend(steps.map(|(after, order)| Event { at: at + after, to: to.clone(), order }));
        }
        Scenario {
            name: "fleet",
            about: "one thing after another happens to a fleet",
            clients,
            per_second: PER_SERVER * servers as f64,
            seconds: Self::FLEET_SECONDS,
            phases: vec![
                phase("calm", "nothing happens", 0..10),
                phase("slow", "every tenth server takes ten times as long", 10..25),
                phase("failing", "every tenth server fails every call within a millisecond", 35..50),
                phase(
                    "zone lost",
                    "every third server is out of reach: nothing comes back, not even a reset",
                    60..80,
                ),
                phase(
                    "rolling restart",
                    "all servers are restarted, a tenth at a time: they say that they go away, end after 1 s, and are \
                     back after 2 s, three times as slow at first",
                    90..117,
                ),
                phase(
                    "herd",
                    "every third server dies at once, and is back 5 s later: all clients reconnect",
                    125..140,
                ),
            ],
            servers: vec![SITE; servers],
            course,
        }
    }

    /// How many servers there are.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// How many calls come, compared with how many can be done.
    pub fn utilisation(&self) -> f64 {
        let capacity: f64 = self
            .servers
            .iter()
            .map(|Site { make, .. }| make.workers as f64 / make.takes.mean().as_secs_f64())
            .sum();
        self.per_second / capacity
    }
}

fn phase(name: &'static str, about: &'static str, seconds: Range<usize>) -> Phase {
    Phase { name, about, seconds }
}

/// Every so manieth of them.
fn some(servers: usize, nth: usize) -> Vec<usize> {
    (0..servers).filter(|server| server % nth == nth / 2).collect()
}

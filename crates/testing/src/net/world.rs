//! The state of a network: hosts, paths, connections.

use super::{
    conditions::Conditions,
    lane::{Lane, Segment},
};
use fastrand::Rng;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};
use tokio::time::Instant;

/// How long a lost segment waits for its first retransmission.
const RETRANSMIT: Duration = Duration::from_millis(200);

/// A connection of a [`Network`](super::Network); numbers grow in the order in which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireId(pub u64);

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The one that connected.
    Near,
    /// The one that accepted.
    Far,
}

/// What a tap hears.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A connection was made.
    Open {
        /// Which.
        wire: WireId,
        /// The host that connected.
        from: &'a str,
        /// The host that accepted.
        to: &'a str,
    },
    /// An end has written.
    Wrote {
        /// On which connection.
        wire: WireId,
        /// Which end of it.
        end: End,
        /// What.
        bytes: &'a [u8],
    },
    /// An end has read. The end of the stream is no bytes.
    Read {
        /// On which connection.
        wire: WireId,
        /// Which end of it.
        end: End,
        /// What.
        bytes: &'a [u8],
    },
    /// An end has met a reset.
    Reset {
        /// Of which connection.
        wire: WireId,
        /// Which end of it.
        end: End,
    },
    /// An end was dropped.
    Dropped {
        /// Of which connection.
        wire: WireId,
        /// Which end of it.
        end: End,
    },
}

pub(super) type Tap = Box<dyn FnMut(Event<'_>) + Send>;

#[derive(Default)]
pub(super) struct Host {
    pub(super) listening: bool,
    pub(super) backlog: VecDeque<WireId>,
    pub(super) acceptor: Option<Waker>,
    /// Without power: it says nothing, not even that it is gone.
    pub(super) down: bool,
}

/// A connection. Side 0 connected, side 1 accepted; a lane has the number of the side that writes to it.
pub(super) struct Wire {
    pub(super) hosts: [Arc<str>; 2],
    pub(super) lanes: [Lane; 2],
    pub(super) gone: [bool; 2],
    pub(super) was_reset: [bool; 2],
    /// Something on the way has forgotten it: nothing passes any more, and nobody is told.
    pub(super) lost: bool,
}

/// What a network, its listeners and its connections share.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Shared(Arc::new(Mutex::new(world)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) conditions: Conditions,
    pub(super) hosts: BTreeMap<Arc<str>, Host>,
    /// Paths that are cut, one way each, and since when.
    pub(super) cuts: BTreeMap<(Arc<str>, Arc<str>), Instant>,
    pub(super) wires: BTreeMap<WireId, Wire>,
    pub(super) made: u64,
    pub(super) tap: Option<Tap>,
}

pub(super) fn end(side: usize) -> End {
    if side == 0 { End::Near } else { End::Far }
}

impl World {
    pub(super) fn new(seed: u64, conditions: Conditions) -> Self {
        World {
            rng: Rng::with_seed(seed),
            conditions,
            hosts: BTreeMap::new(),
            cuts: BTreeMap::new(),
            wires: BTreeMap::new(),
            made: 0,
            tap: None,
        }
    }

    pub(super) fn tell(&mut self, event: Event<'_>) {
        if let Some(tap) = &mut self.tap {
            tap(event);
        }
    }

    pub(super) fn host(&mut self, name: &str) -> &mut Host {
        self.hosts.entry(name.into()).or_default()
    }

    pub(super) fn is_up(&self, name: &str) -> bool {
        self.hosts.get(name).is_none_or(|host| !host.down)
    }

    /// Whether what `from` sends reaches `to`.
    pub(super) fn passes(&self, from: &Arc<str>, to: &Arc<str>) -> bool {
        self.is_up(from) && self.is_up(to) && !self.cuts.contains_key(&(from.clone(), to.clone()))
    }

    /// Whether what `side` of a connection writes reaches the other side.
    pub(super) fn carries(&self, wire: &Wire, side: usize) -> bool {
        !wire.lost && self.passes(&wire.hosts[side], &wire.hosts[1 - side])
    }

    pub(super) fn latency(&mut self) -> Duration {
        let Conditions { min_latency, max_latency, .. } = self.conditions;
        let spread = max_latency.saturating_sub(min_latency).as_micros();
        min_latency + Duration::from_micros(self.rng.u64(0..=u64::try_from(spread).unwrap_or(u64::MAX)))
    }

    /// A segment's latency, with the retransmissions that it takes.
    fn journey(&mut self) -> Duration {
        let mut takes = self.latency();
        let mut wait = RETRANSMIT;
        while self.conditions.loss > 0.0 && self.rng.f64() < self.conditions.loss && wait.as_secs() < 10 {
            takes += wait;
            wait *= 2;
        }
        takes
    }

    /// Sends bytes on their way, in segments.
    pub(super) fn send(&mut self, wire: &mut Wire, side: usize, bytes: &[u8]) {
        let now = Instant::now();
        let mut left = bytes;
        while !left.is_empty() {
            let most = self.conditions.segment.max(1).min(left.len());
            let (part, rest) = left.split_at(self.rng.usize(1..=most));
            left = rest;
            let lane = &mut wire.lanes[side];
            let mut starts = now;
            if let Some(bandwidth) = self.conditions.bandwidth {
                let takes = part.len() as u64 * 1_000_000 / bandwidth.max(1);
                starts = lane.busy_until.max(now) + Duration::from_micros(takes);
                lane.busy_until = starts;
            }
            let at = (starts + self.journey()).max(lane.last_at);
            lane.last_at = at;
            lane.unacked += part.len();
            lane.segments.push_back(Segment { at, bytes: part.to_vec(), read: 0 });
        }
        if let Some(reader) = wire.lanes[side].reader.take() {
            reader.wake();
        }
    }

    /// An orderly end, after all that was written.
    pub(super) fn finish(&mut self, wire: &mut Wire, side: usize) {
        let at = (Instant::now() + self.journey()).max(wire.lanes[side].last_at);
        let lane = &mut wire.lanes[side];
        lane.fin.get_or_insert(at);
        if let Some(reader) = lane.reader.take() {
            reader.wake();
        }
    }

    /// A reset, from this side. It is one packet, which nobody sends again: if it does not get through now,
    /// it never does.
    pub(super) fn reset(&mut self, wire: &mut Wire, side: usize, after: Duration) {
        if !self.carries(wire, side) {
            return;
        }
        let at = Instant::now() + after + self.latency();
        wire.lanes[side].reset.get_or_insert(at);
        wire.lanes.iter_mut().for_each(Lane::wake);
    }

    /// What `side` has sent to an end that is gone comes back as a reset.
    pub(super) fn bounce(&mut self, wire: &mut Wire, side: usize) {
        if wire.gone[1 - side] && self.carries(wire, side) {
            let there = self.latency();
            self.reset(wire, 1 - side, there);
        }
    }

    /// An end is dropped.
    pub(super) fn leave(&mut self, id: WireId, side: usize) {
        let Some(mut wire) = self.wires.remove(&id) else { return };
        self.tell(Event::Dropped { wire: id, end: end(side) });
        wire.gone[side] = true;
        let incoming = &mut wire.lanes[1 - side];
        let unread = incoming.segments.front().map(|segment| segment.at);
        incoming.reader = None;
        wire.lanes[side].writer = None;
        if self.is_up(&wire.hosts[side]) && !wire.was_reset[side] {
            let now = Instant::now();
            match unread {
                // Closed with input unread: that is a reset, and destroys what the other side has not read.
                Some(at) if at <= now => self.reset(&mut wire, side, Duration::ZERO),
                Some(at) => {
                    self.finish(&mut wire, side);
                    self.reset(&mut wire, side, at - now);
                }
                None => self.finish(&mut wire, side),
            }
        }
        if !wire.gone[1 - side] {
            self.wires.insert(id, wire);
        }
    }

    /// Paths have changed: what was held is sent again, and what has nowhere to go comes back.
    pub(super) fn paths_changed(&mut self, since: Instant) {
        let outage = Instant::now().duration_since(since).as_millis();
        let longest = u64::try_from(outage).unwrap_or(u64::MAX).clamp(1, 2_000);
        let ids: Vec<WireId> = self.wires.keys().copied().collect();
        for id in ids {
            let Some(mut wire) = self.wires.remove(&id) else { continue };
            for side in [0, 1] {
                let held = !wire.lanes[side].segments.is_empty() || wire.lanes[side].fin.is_some();
                if held && self.carries(&wire, side) {
                    // A sender that was not heard tries less and less often.
                    let again = Duration::from_millis(self.rng.u64(0..longest));
                    wire.lanes[side].not_before = Instant::now() + again;
                    self.bounce(&mut wire, side);
                }
                wire.lanes[side].wake();
            }
            self.wires.insert(id, wire);
        }
    }
}

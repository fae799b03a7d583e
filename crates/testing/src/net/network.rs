//! The network as a test holds it.

use super::{
    conditions::Conditions,
    io::NetIo,
    lane::Lane,
    world::{Event, Host, Shared, Wire, WireId, World},
};
use std::{
    fmt,
    future::poll_fn,
    io::{self, ErrorKind},
    sync::{Arc, MutexGuard},
    task::Poll,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How long a connect waits before it asks again, at first.
const SYN_AGAIN: Duration = Duration::from_secs(1);

/// Hosts with names, and connections between them that behave as TCP does where it matters: bytes come late,
/// in pieces and in order, a full window makes the writer wait, an end is orderly or a reset, and a reset may
/// destroy what was not read. Paths are cut one way or both, a host loses its power, a connection is
/// forgotten on the way: then there is silence. Clones are the same network.
///
/// Everything is drawn from one seed, and time is tokio's: on a paused clock and one thread, the same seed
/// and the same steps have the same course, to the byte.
///
/// ```
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use towpath_testing::net::{Conditions, Network};
///
/// # towpath_testing::time::paused(async {
/// let network = Network::new(7, Conditions::default());
/// let mut listener = network.listen("server")?;
/// let mut near = network.connect("client", "server").await?;
/// let mut far = listener.accept().await;
/// network.cut("client", "server");
/// near.write_all(b"ping").await?;
/// let mut read = [0; 4];
/// let silence = tokio::time::timeout(std::time::Duration::from_secs(60), far.read_exact(&mut read)).await;
/// assert!(silence.is_err());
/// network.heal("client", "server");
/// far.read_exact(&mut read).await?;
/// assert_eq!(&read, b"ping");
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Network(Shared);

/// Accepts the connections of one host. Dropping it resets those that nobody has accepted.
#[derive(Debug)]
pub struct Listener {
    network: Network,
    host: Arc<str>,
}

impl Network {
    /// An empty network.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Network(Shared::new(World::new(seed, conditions)))
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock()
    }

    /// What the paths are like now.
    pub fn conditions(&self) -> Conditions {
        self.lock().conditions
    }

    /// Changes what the paths are like; what is on its way is not affected.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.lock().conditions = conditions;
    }

    /// Hears what happens from now on, in place of the one before it. It is called with the network locked:
    /// it must not use it.
    pub fn tap(&self, tap: impl FnMut(Event<'_>) + Send + 'static) {
        self.lock().tap = Some(Box::new(tap));
    }

    /// Lets a host accept connections.
    ///
    /// # Errors
    /// `AddrInUse` if it does already.
    pub fn listen(&self, host: &str) -> io::Result<Listener> {
        let mut world = self.lock();
        let place = world.host(host);
        if place.listening {
            return Err(io::Error::new(ErrorKind::AddrInUse, format!("{host} listens already")));
        }
        place.listening = true;
        drop(world);
        Ok(Listener { network: self.clone(), host: host.into() })
    }

    /// Connects one host to another. It waits as long as nothing is heard: bound it.
    ///
    /// # Errors
    /// `ConnectionRefused` if nobody listens there.
    pub async fn connect(&self, from: &str, to: &str) -> io::Result<NetIo> {
        let (from, to): (Arc<str>, Arc<str>) = (from.into(), to.into());
        let mut again = SYN_AGAIN;
        loop {
            let (there, back) = {
                let mut world = self.lock();
                (world.latency(), world.latency())
            };
            sleep(there).await;
            if let Some(answer) = self.knock(&from, &to) {
                sleep(back).await;
                return answer;
            }
            sleep(again).await;
            again *= 2;
        }
    }

    /// What a host answers to a connect; `None`: nothing.
    fn knock(&self, from: &Arc<str>, to: &Arc<str>) -> Option<io::Result<NetIo>> {
        let mut world = self.lock();
        if !world.passes(from, to) || !world.passes(to, from) {
            return None;
        }
        if !world.host(to).listening {
            return Some(Err(io::Error::new(ErrorKind::ConnectionRefused, "connection refused")));
        }
        world.made += 1;
        let (id, now) = (WireId(world.made), Instant::now());
        let wire = Wire {
            hosts: [from.clone(), to.clone()],
            lanes: [Lane::new(now), Lane::new(now)],
            gone: [false; 2],
            was_reset: [false; 2],
            lost: false,
        };
        world.wires.insert(id, wire);
        world.tell(Event::Open { wire: id, from, to });
        let host = world.host(to);
        host.backlog.push_back(id);
        if let Some(acceptor) = host.acceptor.take() {
            acceptor.wake();
        }
        drop(world);
        Some(Ok(NetIo::new(self.0.clone(), id, 0)))
    }

    /// From here on nothing that `from` sends reaches `to`; what is on its way is held, too.
    pub fn cut(&self, from: &str, to: &str) {
        self.lock().cuts.entry((from.into(), to.into())).or_insert_with(Instant::now);
    }

    /// The path is whole again: what was held comes some time later, as it is sent again.
    pub fn heal(&self, from: &str, to: &str) {
        let mut world = self.lock();
        if let Some(since) = world.cuts.remove(&(from.into(), to.into())) {
            world.paths_changed(since);
        }
    }

    /// All paths are whole again.
    pub fn heal_all(&self) {
        let mut world = self.lock();
        let since = world.cuts.values().min().copied();
        world.cuts.clear();
        if let Some(since) = since {
            world.paths_changed(since);
        }
    }

    /// A host loses its power: it neither hears nor says anything, and what is dropped there while it is
    /// down is dropped without a word.
    pub fn power_off(&self, host: &str) {
        self.lock().host(host).down = true;
    }

    /// It has power again: whoever still writes to a connection of before is told that there is none.
    pub fn power_on(&self, host: &str) {
        let mut world = self.lock();
        if std::mem::take(&mut world.host(host).down) {
            world.paths_changed(Instant::now());
        }
    }

    /// The connections that have not been dropped at both ends, in the order in which they were made.
    pub fn wires(&self) -> Vec<WireId> {
        self.lock().wires.keys().copied().collect()
    }

    fn change(&self, id: WireId, change: impl FnOnce(&mut World, &mut Wire)) {
        let mut world = self.lock();
        if let Some(mut wire) = world.wires.remove(&id) {
            change(&mut world, &mut wire);
            wire.lanes.iter_mut().for_each(Lane::wake);
            world.wires.insert(id, wire);
        }
    }

    /// Resets a connection from its middle; both ends are told, if they can be reached.
    pub fn reset(&self, wire: WireId) {
        self.change(wire, |world, wire| {
            for side in [0, 1] {
                world.reset(wire, side, Duration::ZERO);
            }
        });
    }

    /// Ends both directions of a connection from its middle, in order, wherever in a frame they are; what is
    /// written after that is answered by a reset.
    pub fn end(&self, wire: WireId) {
        self.change(wire, |world, wire| {
            for side in [0, 1] {
                world.finish(wire, side);
                wire.lanes[side].severed = true;
            }
        });
    }

    /// A connection is forgotten on its way: nothing passes any more, and nobody is told.
    pub fn lose(&self, wire: WireId) {
        self.change(wire, |_, wire| wire.lost = true);
    }
}

impl Listener {
    /// The next connection.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn accept(&mut self) -> NetIo {
        let wire = poll_fn(|cx| {
            let mut world = self.network.lock();
            let host = world.host(&self.host);
            match host.backlog.pop_front() {
                Some(wire) => Poll::Ready(wire),
                None => {
                    host.acceptor = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        NetIo::new(self.network.0.clone(), wire, 1)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut world = self.network.lock();
        let Host { listening, backlog, acceptor, .. } = world.host(&self.host);
        *listening = false;
        *acceptor = None;
        for id in std::mem::take(backlog) {
            if let Some(mut wire) = world.wires.remove(&id) {
                world.reset(&mut wire, 1, Duration::ZERO);
                world.wires.insert(id, wire);
            }
            world.leave(id, 1);
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = self.lock();
        f.debug_struct("Network")
            .field("conditions", &world.conditions)
            .field("wires", &world.wires.len())
            .finish_non_exhaustive()
    }
}

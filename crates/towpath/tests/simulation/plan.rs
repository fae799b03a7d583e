//! What a seed stands for: who is there, how the network is, what goes wrong, and what is called.

use fastrand::Rng;
use std::time::Duration;
use towpath::{Backoff, ClientConfig, Jitter, Mode, ServerConfig};
use towpath_testing::net::Conditions;

/// How long calls are made and things go wrong.
pub const TROUBLE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Nothing goes wrong, and nothing is short: every call that has the time is answered.
    pub calm: bool,
    pub servers: Vec<ServerConfig>,
    pub clients: Vec<(ClientConfig, Backoff)>,
    pub conditions: Conditions,
    pub faults: Vec<(Duration, Fault)>,
    /// Calls of one caller after another.
    pub callers: Vec<Vec<Call>>,
}

#[derive(Clone, Debug)]
pub enum Fault {
    /// One way or both, between two hosts.
    Cut {
        client: usize,
        server: usize,
        there: bool,
        back: bool,
        lasts: Duration,
    },
    /// Of one connection, if there is one: the `pick`-th.
    Reset {
        pick: usize,
    },
    End {
        pick: usize,
    },
    Lose {
        pick: usize,
    },
    /// The process dies; its sockets are closed by the system.
    Kill {
        server: usize,
        back_after: Duration,
    },
    /// The host dies; nobody is told.
    PowerOff {
        server: usize,
        back_after: Duration,
    },
    /// A planned restart.
    Drain {
        server: usize,
        back_after: Duration,
    },
    /// Lossy and slow for a while.
    Storm {
        loss: f64,
        bandwidth: u64,
        lasts: Duration,
    },
    /// A client handle is dropped, or closed, and another one takes its place.
    Replace {
        client: usize,
        server: usize,
        close: bool,
    },
}

/// What a handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Answer,
    /// After so many milliseconds.
    Late(u32),
    Fault,
    Panic,
}

#[derive(Clone, Debug)]
pub struct Call {
    /// Before it, since the caller's last one ended.
    pub pause: Duration,
    pub client: usize,
    pub server: usize,
    pub mode: Mode,
    pub timeout: Option<Duration>,
    /// The caller gives up after so long.
    pub cancel: Option<Duration>,
    pub work: Work,
    /// By a handler on a task of its own.
    pub spawned: bool,
    pub ask_bytes: usize,
    pub answer_bytes: usize,
}

fn ms(rng: &mut Rng, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

/// True in so many of a hundred.
fn chance(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(0..100) < percent
}

/// Where bytes come by the handful, a large body would only take long.
fn size(rng: &mut Rng, conditions: &Conditions) -> usize {
    let most = match conditions {
        Conditions { segment: ..100, .. } => 1_200,
        Conditions { window: ..5_000, .. } => 6_000,
        _ => 60_000,
    };
    let drawn = match rng.u32(0..20) {
        0 => rng.usize(10_000..60_000),
        1..=3 => rng.usize(1_000..10_000),
        _ => rng.usize(0..200),
    };
    drawn.min(most)
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds are to have nothing in common.
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x7077);
        let rng = &mut rng;
        let calm = chance(rng, 10);
        let servers: Vec<_> = (0..rng.usize(1..=3)).map(|_| server(rng, calm)).collect();
        let clients: Vec<_> = (0..rng.usize(1..=4)).map(|_| client(rng, calm)).collect();
        let conditions = conditions(rng, calm);
        let count = if calm { 0 } else { rng.usize(0..14) };
        let mut faults: Vec<_> = (0..count)
            .map(|_| (ms(rng, 0..=TROUBLE.as_millis() as u64), fault(rng, clients.len(), servers.len())))
            .collect();
        faults.sort_by_key(|(at, _)| *at);
        let callers = (0..rng.usize(2..24))
            .map(|_| {
                (0..rng.usize(1..20))
                    .map(|_| call(rng, calm, &conditions, clients.len(), servers.len()))
                    .collect()
            })
            .collect();
        Plan { seed, calm, servers, clients, conditions, faults, callers }
    }
}

fn server(rng: &mut Rng, calm: bool) -> ServerConfig {
    let mut config = ServerConfig {
        keep_alive: Some(ms(rng, 500..=5_000)),
        keep_alive_timeout: ms(rng, 500..=3_000),
        ..ServerConfig::default()
    };
    if calm {
        return config;
    }
    if chance(rng, 20) {
        config.max_outstanding = rng.u32(1..20);
    }
    if chance(rng, 20) {
        config.max_held = rng.usize(1..50_000);
    }
    if chance(rng, 20) {
        config.max_backlog = rng.usize(1..50_000);
    }
    // A peer that takes nothing counts as stalled, not as silent: it is to be found out before the end.
    config.stall_timeout = ms(rng, 300..=5_000);
    if chance(rng, 20) {
        config.idle_timeout = Some(ms(rng, 100..=2_000));
    }
    if chance(rng, 20) {
        config.max_connection_age = Some(ms(rng, 200..=6_000));
        config.connection_age_grace = ms(rng, 1..=2_000);
    }
    if chance(rng, 20) {
        config.header_timeout = ms(rng, 100..=3_000);
    }
    if chance(rng, 50) {
        config.drain_timeout = ms(rng, 0..=2_000);
    }
    config
}

fn client(rng: &mut Rng, calm: bool) -> (ClientConfig, Backoff) {
    let mut config = ClientConfig {
        keep_alive: Some(ms(rng, 300..=3_000)),
        keep_alive_timeout: ms(rng, 500..=2_000),
        ..ClientConfig::default()
    };
    if !calm {
        config.connect_timeout = ms(rng, 300..=4_000);
        if chance(rng, 20) {
            config.max_outstanding = rng.u32(1..20);
        }
        if chance(rng, 20) {
            config.max_buffered = rng.usize(1..50_000);
        }
        if chance(rng, 15) {
            config.max_payload = rng.u32(1024..20_000);
        }
    }
    let (base, max) = (ms(rng, 10..=100), ms(rng, 200..=2_000));
    (config, Backoff::try_new(base, max, 2.0, Jitter::Full).unwrap())
}

fn conditions(rng: &mut Rng, calm: bool) -> Conditions {
    let mut conditions = Conditions::default();
    conditions.min_latency = Duration::from_micros(rng.u64(0..20_000));
    conditions.max_latency = conditions.min_latency + Duration::from_micros(rng.u64(0..30_000));
    if chance(rng, 30) {
        conditions.segment = rng.usize(1..100);
    }
    if calm {
        return conditions;
    }
    if chance(rng, 30) {
        conditions.window = rng.usize(100..5_000);
    }
    if chance(rng, 30) {
        conditions.loss = rng.f64() * 0.1;
    }
    if chance(rng, 10) {
        conditions.bandwidth = Some(rng.u64(10_000..1_000_000));
    }
    conditions.reset_destroys = rng.bool();
    conditions
}

fn fault(rng: &mut Rng, clients: usize, servers: usize) -> Fault {
    let (client, server) = (rng.usize(0..clients), rng.usize(0..servers));
    let back_after = if rng.bool() { Duration::ZERO } else { ms(rng, 0..=3_000) };
    match rng.u32(0..16) {
        0..=3 => {
            let (there, back) = [(true, true), (true, false), (false, true)][rng.usize(0..3)];
            Fault::Cut { client, server, there, back, lasts: ms(rng, 20..=8_000) }
        }
        4 | 5 => Fault::Reset { pick: rng.usize(0..8) },
        6 => Fault::End { pick: rng.usize(0..8) },
        7 => Fault::Lose { pick: rng.usize(0..8) },
        8 | 9 => Fault::Kill { server, back_after },
        10 => Fault::PowerOff { server, back_after: ms(rng, 20..=5_000) },
        11 | 12 => Fault::Drain { server, back_after },
        13 => Fault::Storm {
            loss: rng.f64() * 0.5,
            bandwidth: rng.u64(2_000..200_000),
            lasts: ms(rng, 100..=4_000),
        },
        _ => Fault::Replace { client, server, close: rng.bool() },
    }
}

fn call(rng: &mut Rng, calm: bool, conditions: &Conditions, clients: usize, servers: usize) -> Call {
    let mode = match rng.u32(0..10) {
        0..=5 => Mode::Unary,
        6..=8 => Mode::Async,
        _ => Mode::OneWay,
    };
    let work = match rng.u32(0..20) {
        0..=8 => Work::Answer,
        9..=16 => Work::Late(rng.u32(0..800)),
        17 | 18 => Work::Fault,
        _ => Work::Panic,
    };
    let timeout = match rng.u32(0..20) {
        0..=1 => None,
        2..=5 => Some(ms(rng, 1..=60)),
        6..=12 => Some(ms(rng, 60..=2_000)),
        _ => Some(ms(rng, 2_000..=15_000)),
    };
    Call {
        pause: if rng.bool() { Duration::ZERO } else { ms(rng, 0..=2_000) },
        client: rng.usize(0..clients),
        server: rng.usize(0..servers),
        mode,
        timeout,
        cancel: chance(rng, if calm { 5 } else { 15 }).then(|| ms(rng, 0..=400)),
        work,
        spawned: chance(rng, 15),
        ask_bytes: size(rng, conditions),
        answer_bytes: size(rng, conditions),
    }
}

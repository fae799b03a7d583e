//! The line between two TUN devices.

use fastrand::Rng;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep};
use tokio_tun::Tun;

const DELAY: Duration = Duration::from_millis(50);
/// Of those who overtake the others.
const QUICK: Duration = Duration::from_millis(10);
const LOSS: f64 = 0.01;
const OVERTAKE: f64 = 0.02;

/// It ends when it is dropped.
pub struct Line {
    state: Arc<State>,
    _directions: JoinSet<()>,
}

#[derive(Default)]
struct State {
    cut: AtomicBool,
    carried: AtomicU64,
    lost: AtomicU64,
}

impl Line {
    pub fn new(ends: [Tun; 2]) -> Self {
        let state = Arc::new(State::default());
        let [near, far] = ends.map(Arc::new);
        let mut directions = JoinSet::new();
        directions.spawn(carry(near.clone(), far.clone(), state.clone(), Rng::with_seed(1)));
        directions.spawn(carry(far, near, state.clone(), Rng::with_seed(2)));
        Line { state, _directions: directions }
    }

    pub fn cut(&self, cut: bool) {
        self.state.cut.store(cut, Relaxed);
    }

    /// Packets that were carried, and that were lost (to the cut as well).
    pub fn counts(&self) -> (u64, u64) {
        (self.state.carried.load(Relaxed), self.state.lost.load(Relaxed))
    }
}

async fn carry(from: Arc<Tun>, to: Arc<Tun>, state: Arc<State>, mut rng: Rng) {
    let mut on_their_way = JoinSet::new();
    let mut packet = [0; 2048];
    loop {
        let Ok(size) = from.recv(&mut packet).await else { return };
        if rng.f64() < LOSS || state.cut.load(Relaxed) {
            state.lost.fetch_add(1, Relaxed);
            continue;
        }
        let delay = if rng.f64() < OVERTAKE { QUICK } else { DELAY };
        let (to, state, packet) = (to.clone(), state.clone(), packet[..size].to_vec());
        on_their_way.spawn(async move {
            sleep(delay).await;
            // What was on its way when the line was cut does not arrive either.
            if state.cut.load(Relaxed) || to.send(&packet).await.is_err() {
                state.lost.fetch_add(1, Relaxed);
            } else {
                state.carried.fetch_add(1, Relaxed);
            }
        });
        while on_their_way.try_join_next().is_some() {}
    }
}

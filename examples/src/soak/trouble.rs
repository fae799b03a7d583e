//! What goes wrong.

use super::{
    lock,
    proxy::{Cut, Lines},
    server::Replica,
};
use fastrand::Rng;
use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Mutex as AsyncMutex, task::JoinSet, time::sleep};

/// The mean pause between two faults.
const EVERY_MS: u64 = 120;

/// How often what has happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    resets: u64,
    ends: u64,
    stalls: u64,
    garbage: u64,
    attacks: u64,
    deaths: u64,
    drains: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { resets, ends, stalls, garbage, attacks, deaths, drains } = self;
        write!(
            f,
            "{resets} resets, {ends} ends, {stalls} stalls, {garbage} answers of garbage, {attacks} visits by \
             strangers, {deaths} deaths, {drains} drains"
        )
    }
}

pub(crate) struct Place {
    pub(crate) replica: AsyncMutex<Replica>,
    pub(crate) lines: Arc<Lines>,
    pub(crate) address: SocketAddr,
}

/// Goes on until it is dropped. What it has begun by then is undone by [`calm_down`].
pub(crate) async fn make(places: Arc<Vec<Place>>, mut rng: Rng, seen: Arc<Mutex<Seen>>) -> io::Result<()> {
    let mut under_way = JoinSet::new();
    loop {
        sleep(Duration::from_millis(rng.u64(0..2 * EVERY_MS))).await;
        let at = rng.usize(0..places.len());
        let what = rng.u32(0..100);
        let (places, rng, seen) = (places.clone(), Rng::with_seed(rng.u64(..)), seen.clone());
        under_way.spawn(async move { strike(&places[at], what, rng, &seen).await });
        while let Some(done) = under_way.try_join_next() {
            done??;
        }
    }
}

async fn strike(place: &Place, what: u32, mut rng: Rng, seen: &Mutex<Seen>) -> io::Result<()> {
    let count = |count: fn(&mut Seen) -> &mut u64| *count(&mut lock(seen)) += 1;
    let lines = &place.lines;
    let any = rng.usize(0..lines.len().max(1));
    let ms = |rng: &mut Rng, most| sleep(Duration::from_millis(rng.u64(0..most)));
    match what {
        0..=34 => {
            lines.cut(any, Cut::Reset);
            count(|seen| &mut seen.resets);
        }
        35..=49 => {
            lines.cut(any, Cut::End);
            count(|seen| &mut seen.ends);
        }
        50..=64 => {
            if let Some(resume) = lines.stall(any) {
                count(|seen| &mut seen.stalls);
                ms(&mut rng, 4_000).await;
                resume();
            }
        }
        65..=69 => {
            lines.answer_garbage();
            lines.cut(any, Cut::Reset);
            count(|seen| &mut seen.garbage);
        }
        70..=84 => {
            count(|seen| &mut seen.attacks);
            attack(place.address, &mut rng).await;
        }
        85..=92 => {
            let mut replica = place.replica.lock().await;
            replica.die().await?;
            count(|seen| &mut seen.deaths);
            ms(&mut rng, 1_000).await;
            replica.revive()?;
        }
        _ => {
            let mut replica = place.replica.lock().await;
            replica.drain().await?;
            count(|seen| &mut seen.drains);
            ms(&mut rng, 500).await;
            replica.revive()?;
        }
    }
    Ok(())
}

/// Somebody who does not speak the protocol, or does not finish a sentence. What fails here fails for them.
async fn attack(server: SocketAddr, rng: &mut Rng) {
    let Ok(mut stream) = TcpStream::connect(server).await else { return };
    let mut text: Vec<u8> = (0..rng.usize(1..3_000)).map(|_| rng.u8(..)).collect();
    match rng.u32(0..4) {
        // A plausible beginning: a header of a large frame, and not much of it.
        0 => text.splice(..0, *b"MC\x01\x01\x00\x0f\x00\x00").for_each(drop),
        // A frame that is whole, and nonsense.
        1 => text = [b"MC\x01\x01\x00\x00\x00\x18".as_slice(), &[0xff; 24]].concat(),
        2 => text = b"GET / HTTP/1.1\r\nHost: soak\r\n\r\n".to_vec(),
        _ => {}
    }
    let _ = stream.write_all(&text).await;
    sleep(Duration::from_millis(rng.u64(0..3_000))).await;
}

/// Whoever is dead is back.
pub(crate) async fn calm_down(places: &[Place]) -> io::Result<()> {
    for place in places {
        let mut replica = place.replica.lock().await;
        replica.revive()?;
    }
    Ok(())
}

//! Who calls.

use super::{incoming::Incoming, outgoing::Outgoing};
use bytes::Bytes;
use std::{
    future::Future,
    io, mem,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};
use tokio::net::TcpStream;

/// A handle; its clones share one connection.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    out: Outgoing,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The driver, when it waits; who takes it has to wake it.
    driver: Option<Waker>,
    lost: bool,
}

#[derive(Debug)]
struct Slot {
    /// How often the slot was given back: an answer that comes too late finds another number here.
    generation: u32,
    waiter: Waiter,
}

#[derive(Debug)]
enum Waiter {
    Free,
    Waiting(Waker),
    Answered(Bytes),
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lost() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl Connection {
    /// Connects, and spawns the driver.
    ///
    /// # Errors
    /// If nobody listens.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let shared = Arc::<Mutex<State>>::default();
        tokio::spawn(Driver {
            stream,
            shared: shared.clone(),
            incoming: Incoming::default(),
            writing: Outgoing::default(),
            woken: Vec::new(),
        });
        Ok(Connection(shared))
    }

    /// Sends a body; the answer's is the outcome. Nothing is sent before the first poll.
    pub fn call(&self, body: Bytes) -> Call<'_> {
        Call { state: &self.0, progress: Progress::Start(body) }
    }
}

impl State {
    #[inline]
    fn enter(&mut self, waker: Waker) -> u64 {
        let waiter = Waiter::Waiting(waker);
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize].waiter = waiter;
                index
            }
            None => {
                self.slots.push(Slot { generation: 0, waiter });
                (self.slots.len() - 1) as u32
            }
        };
        u64::from(self.slots[index as usize].generation) << 32 | u64::from(index)
    }

    #[inline]
    fn slot(&mut self, id: u64) -> Option<&mut Slot> {
        let generation = (id >> 32) as u32;
        self.slots.get_mut(id as u32 as usize).filter(|slot| slot.generation == generation)
    }

    #[inline]
    fn leave(&mut self, id: u64) -> Waiter {
        let Some(slot) = self.slot(id) else { return Waiter::Free };
        slot.generation = slot.generation.wrapping_add(1);
        let waiter = mem::replace(&mut slot.waiter, Waiter::Free);
        self.free.push(id as u32);
        waiter
    }
}

/// See [`Connection::call`].
#[derive(Debug)]
pub struct Call<'a> {
    state: &'a Mutex<State>,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    Start(Bytes),
    Sent(u64),
    Done,
}

impl Future for Call<'_> {
    type Output = io::Result<Bytes>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let this = self.get_mut();
        let mut state = lock(this.state);
        match &this.progress {
            Progress::Start(_) if state.lost => Poll::Ready(Err(lost())),
            Progress::Start(body) => {
                let id = state.enter(cx.waker().clone());
                state.out.push(id, body);
                let driver = state.driver.take();
                drop(state);
                this.progress = Progress::Sent(id);
                if let Some(driver) = driver {
                    driver.wake();
                }
                Poll::Pending
            }
            &Progress::Sent(id) => {
                let is_lost = state.lost;
                match state.slot(id) {
                    Some(Slot { waiter: Waiter::Waiting(waker), .. }) if !is_lost => {
                        waker.clone_from(cx.waker());
                        return Poll::Pending;
                    }
                    _ => {}
                }
                let waiter = state.leave(id);
                drop(state);
                this.progress = Progress::Done;
                Poll::Ready(if let Waiter::Answered(body) = waiter { Ok(body) } else { Err(lost()) })
            }
            Progress::Done => Poll::Ready(Err(lost())),
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Progress::Sent(id) = self.progress {
            let waiter = lock(self.state).leave(id);
            drop(waiter);
        }
    }
}

struct Driver {
    stream: TcpStream,
    shared: Arc<Mutex<State>>,
    incoming: Incoming,
    writing: Outgoing,
    woken: Vec<Waker>,
}

impl Driver {
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Poll::Ready(n) = self.incoming.poll_read(&mut self.stream, cx)? {
            if n == 0 {
                return Poll::Ready(Ok(()));
            }
            let mut state = lock(&self.shared);
            while let Some(frame) = self.incoming.next()? {
                let body = self.incoming.take(frame);
                if let Some(slot) = state.slot(frame.id)
                    && let Waiter::Waiting(waker) = mem::replace(&mut slot.waiter, Waiter::Answered(body))
                {
                    self.woken.push(waker);
                }
            }
            drop(state);
            self.woken.drain(..).for_each(Waker::wake);
        }
        loop {
            if self.writing.poll_write(&mut self.stream, cx)?.is_pending() {
                return Poll::Pending;
            }
            let mut state = lock(&self.shared);
            if state.out.is_empty() {
                state.driver = Some(cx.waker().clone());
                return Poll::Pending;
            }
            mem::swap(&mut state.out, &mut self.writing);
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.poll_connection(cx).is_pending() {
            return Poll::Pending;
        }
        let mut state = lock(&this.shared);
        state.lost = true;
        let waiting = state.slots.iter().filter_map(|slot| match &slot.waiter {
            Waiter::Waiting(waker) => Some(waker.clone()),
            _ => None,
        });
        let waiting: Vec<Waker> = waiting.collect();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        Poll::Ready(())
    }
}

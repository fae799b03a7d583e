//! One connection, seen from the server: what it is made of.

use super::{call::Place, drain::DrainWatch, shared::Shared};
use crate::{
    alarm::Alarm,
    compression::Packing,
    config::ServerConfig,
    farewell::Farewell,
    out::OutQueue,
    reader::FrameReader,
    traffic::{ConnectionEnd, Meter, Traffic},
};
use std::{fmt, mem, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tower_service::Service;
use towpath_codec::{ControlError, FrameError, GoAway, GoAwayReason, KnownMethods, Settings};
use towpath_core::{BoxError, CodecId, Extensions, Mode, Request, Response};

/// Serves one connection; a future to be spawned or awaited. It ends with the connection.
///
/// Each call is polled once where it is read: what is done at once needs no task and no allocation. A call
/// that is pending then goes on in a task of its own, and stops when its caller cancels it, when its
/// deadline passes, or when the connection ends.
///
/// Dropping it closes the connection and stops its calls.
#[must_use = "a connection is not served unless this is polled"]
pub struct ServerConnection<T, S: Service<Request>> {
    pub(super) io: T,
    /// The one that is called. It is replaced by a clone of `origin` when it panics.
    pub(super) service: S,
    pub(super) origin: S,
    pub(super) place: Place<S>,
    pub(super) shared: Arc<Shared>,
    pub(super) reader: FrameReader,
    pub(super) writing: OutQueue,
    pub(super) config: ServerConfig,
    pub(super) drain: DrainWatch,
    /// What every request of this connection brings along.
    pub(super) extensions: Extensions,
    pub(super) alarm: Alarm,
    /// The largest payload that the peer takes.
    pub(super) peer_max_payload: u32,
    /// At least as many calls as are in work aside; exact after each write.
    pub(super) outstanding: usize,
    /// The highest call id seen.
    pub(super) last_id: u64,
    pub(super) known: KnownMethods,
    /// The call that is begun at this moment: a panic is its own.
    pub(super) begun: Option<Begun>,
    /// The caller has said that it makes no more calls: the end of its stream is no death.
    pub(super) caller_done: bool,
    pub(super) times: Times,
    pub(super) meter: Meter,
    pub(super) stage: Stage,
}

/// `Fresh` → `Open` → `Draining` → `Ending` → the end; a violation or the peer's end skips `Draining`.
#[derive(Debug)]
pub(super) enum Stage {
    Fresh,
    Open,
    /// `server`: not this connection alone, because of its age, but all of them.
    Draining {
        until: Instant,
        server: bool,
    },
    Ending(Farewell),
}

/// What is needed to answer a call whose request is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) id: u64,
    pub(super) mode: Mode,
    pub(super) codec: CodecId,
}

/// Since when what has been so; the alarm looks through them.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) last_read: Instant,
    pub(super) asked_for_life: Option<Instant>,
    pub(super) last_call: Instant,
    /// When it has reached its age, if it is to.
    pub(super) aged: Option<Instant>,
    /// Since when the peer has not brought a whole header, and whether it has been asked for one; `None`
    /// once it has.
    pub(super) unheard: Option<(Instant, bool)>,
    /// Something has been read since the connection last gave its memory back.
    pub(super) untidy: bool,
    /// Since when a frame is half read, and how many bytes of it have come since.
    pub(super) half_read: Option<(Instant, usize)>,
    /// When the header of the frame that is half read was there.
    pub(super) header: Option<Instant>,
    /// Since when the peer has taken nothing, and how far it had come.
    pub(super) half_written: Option<(Instant, usize)>,
}

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The peer is gone, or never was an honest one: nothing to say.
    Gone,
    /// Everything is said.
    Finished,
    /// The last words, with the reason.
    Violation(GoAwayReason, String),
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        End::Violation(error.reason(), error.to_string())
    }
}

impl From<ControlError> for End {
    fn from(error: ControlError) -> Self {
        End::Violation(GoAwayReason::Malformed, error.to_string())
    }
}

pub(super) fn malformed(why: impl Into<String>) -> End {
    End::Violation(GoAwayReason::Malformed, why.into())
}

impl<T, S> ServerConnection<T, S>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    /// A connection over any stream, served by any service. `drain` tells it to finish.
    ///
    /// The configuration is not checked ([`ServerConfig::validate`] does that); times beyond a year are a year.
    pub fn new(io: T, service: S, config: &ServerConfig, drain: DrainWatch) -> Self {
        let (now, config) = (Instant::now(), config.clamped());
        let aged = config.max_connection_age.map(|age| now + jittered(age));
        let mut writing = OutQueue::default();
        announce(&config, &mut writing);
        ServerConnection {
            io,
            origin: service.clone(),
            service,
            place: Place::new(),
            shared: Arc::new(Shared::new(Packing::new(config.compression.as_ref()))),
            reader: FrameReader::default(),
            writing,
            config,
            drain,
            extensions: Extensions::new(),
            alarm: Alarm::default(),
            peer_max_payload: towpath_codec::DEFAULT_MAX_PAYLOAD,
            outstanding: 0,
            last_id: 0,
            known: KnownMethods::new(),
            begun: None,
            caller_done: false,
            times: Times {
                last_read: now,
                asked_for_life: None,
                last_call: now,
                aged,
                unheard: Some((now, false)),
                untidy: false,
                half_read: None,
                header: None,
                half_written: None,
            },
            meter: Meter::default(),
            stage: Stage::Fresh,
        }
    }

    /// What every request that comes over this connection has in its extensions: who is at the other end, say.
    /// It costs a reference count for each.
    pub fn with_extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// Counts this connection, and what goes over it.
    pub fn with_traffic(mut self, traffic: &Traffic) -> Self {
        self.meter = Meter::of(traffic.clone());
        self
    }

    /// Sends the peer away politely: GOAWAY, and the end.
    pub(crate) fn refuse(&mut self, reason: GoAwayReason, why: &str) {
        self.goaway(reason, why);
        self.meter.closed(ConnectionEnd::Refused);
        self.stage = Stage::Ending(Farewell::new(mem::take(&mut self.writing)));
    }

    pub(super) fn goaway(&mut self, reason: GoAwayReason, text: &str) {
        let goaway = GoAway { reason, last_id: self.last_id, text: text.to_owned() };
        self.writing.goaway(&goaway);
    }
}

impl<T, S: Service<Request>> ServerConnection<T, S> {
    pub(super) fn stop_calls(&mut self) {
        let calls = self.shared.lock().take_all();
        for (_, call) in calls {
            call.stop();
        }
    }
}

/// An age of its own for each connection.
fn jittered(age: Duration) -> Duration {
    age.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// SETTINGS, if this side's limits are not the protocol's.
fn announce(config: &ServerConfig, out: &mut OutQueue) {
    let standard = ServerConfig::default();
    let settings = Settings {
        max_payload: (config.max_payload != standard.max_payload).then_some(config.max_payload),
        max_outstanding: (config.max_outstanding != standard.max_outstanding)
            .then_some(config.max_outstanding),
        idle_timeout_ms: config
            .idle_timeout
            .map(|after| u32::try_from(after.as_millis()).unwrap_or(u32::MAX)),
        compression: Packing::new(config.compression.as_ref()).announced(),
        ..Settings::default()
    };
    out.settings(&settings);
}

/// Nothing in it is pinned to where it stands: the futures of handlers are boxed in their place.
impl<T: Unpin, S: Service<Request>> Unpin for ServerConnection<T, S> {}

impl<T, S: Service<Request>> Drop for ServerConnection<T, S> {
    fn drop(&mut self) {
        self.stop_calls();
    }
}

impl<T, S: Service<Request>> fmt::Debug for ServerConnection<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConnection").field("stage", &self.stage).finish_non_exhaustive()
    }
}

//! What arrives on a connection, and what each frame means.

use super::{
    answer,
    connection::{End, ServerConnection, Stage, malformed},
};
use crate::reader::Next;
use bytes::Bytes;
use std::{
    mem,
    task::{self, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tower_service::Service;
use towpath_codec::{Limits, RequestError, kind};
use towpath_core::{BoxError, CodecId, Error, ErrorKind, Mode, Processed, Request, Response};

/// As much has to come of a frame that is half read within the stall timeout: a slow peer may be slow, but
/// a byte now and then is no progress worth waiting for.
const LEAST_PROGRESS: usize = 16 * 1024;

/// What came of a look at the socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    /// Something; there may be more.
    Some,
    /// Nothing; the socket wakes the task when there is.
    Dry,
    /// It was not looked: too much is unfinished.
    Full,
}

impl<T, S> ServerConnection<T, S>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send + 'static>,
    S: Clone + Send + 'static,
{
    /// One read, and the work that came with it.
    pub(super) fn read(&mut self, cx: &mut task::Context<'_>) -> Result<Read, End> {
        if self.is_full() {
            return Ok(Read::Full);
        }
        match self.reader.poll_read(&mut self.io, cx) {
            Poll::Pending => Ok(Read::Dry),
            Poll::Ready(Ok(0)) => self.end_of_stream(),
            Poll::Ready(Ok(bytes)) => {
                // One reading of the clock for all that has arrived together.
                let now = Instant::now();
                self.times.last_read = now;
                self.times.asked_for_life = None;
                self.frames(now, bytes)?;
                Ok(Read::Some)
            }
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "a connection broke");
                Err(End::Gone)
            }
        }
    }

    /// Work piles up, or answers do: the peer has to wait.
    pub(super) fn is_full(&self) -> bool {
        if self.writing.len() > self.config.max_backlog {
            return true;
        }
        if self.outstanding == 0 {
            return false;
        }
        let state = self.shared.lock();
        state.held > self.config.max_held || state.out.len() > self.config.max_backlog
    }

    pub(super) fn end_of_stream(&mut self) -> Result<Read, End> {
        if self.reader.is_partial() || !self.caller_done {
            // A caller that dies in the middle is no caller that has finished.
            return Err(End::Gone);
        }
        // It cannot give a sign of life any more; whether it still reads, the writing will tell.
        self.config.keep_alive = None;
        Ok(Read::Dry)
    }

    pub(super) fn frames(&mut self, now: Instant, bytes: usize) -> Result<(), End> {
        // A call's time counts from its header, which may have come in an earlier read.
        let mut arrival = self.times.header.take().unwrap_or(now);
        let mut count = 0usize;
        while let Next::Frame(kind, payload) = self.reader.next(self.config.max_payload)? {
            count += 1;
            self.frame(kind, payload, arrival, count > 1 || arrival != now)?;
            arrival = now;
        }
        if self.reader.has_header() {
            self.times.header = Some(arrival);
            self.times.unheard = None;
        } else if count > 0 {
            self.times.unheard = None;
        }
        self.times.half_read = match self.times.half_read {
            _ if !self.reader.is_partial() => None,
            Some((since, before)) if count == 0 && before + bytes < LEAST_PROGRESS => {
                Some((since, before + bytes))
            }
            _ => {
                self.alarm.not_later_than(now + self.config.stall_timeout);
                Some((now, 0))
            }
        };
        Ok(())
    }

    #[inline]
    pub(super) fn frame(
        &mut self,
        kind: u8,
        payload: Bytes,
        arrival: Instant,
        waited: bool,
    ) -> Result<(), End> {
        match kind {
            kind::REQUEST => self.request(payload, arrival, waited),
            kind::CANCEL => {
                let id = towpath_codec::id(&payload).filter(|id| *id != 0);
                let id = id.ok_or_else(|| malformed("CANCEL without a call id"))?;
                // The handler is dropped outside the lock, by its own task.
                let cancelled = self.shared.lock().remove(id);
                if let Some(call) = cancelled {
                    call.stop();
                }
                Ok(())
            }
            kind::PING => {
                let id = towpath_codec::id(&payload).ok_or_else(|| malformed("PING without an id"))?;
                towpath_codec::put_short(&mut self.writing.buf, kind::PONG, id);
                Ok(())
            }
            kind::PONG => match towpath_codec::id(&payload) {
                Some(_) => Ok(()),
                None => Err(malformed("PONG without an id")),
            },
            kind::GOAWAY => {
                towpath_codec::decode_goaway(&payload)?;
                self.caller_done = true;
                Ok(())
            }
            kind::SETTINGS => {
                let settings = towpath_codec::decode_settings(&payload)?;
                self.shared.packing.heard(&settings);
                if let Some(max) = settings.max_payload {
                    self.peer_max_payload = max;
                    self.shared.lock().max_payload = max;
                }
                Ok(())
            }
            kind::EXTENSIONS.. => Ok(()),
            _ => Err(malformed(format!("{} from a caller", kind::name(kind)))),
        }
    }

    pub(super) fn request(&mut self, payload: Bytes, arrival: Instant, waited: bool) -> Result<(), End> {
        let bytes = payload.len();
        // Where a malformed request says how it speaks: a fault is answered in kind.
        let codec = payload.get(12).map_or(CodecId::JSON, |codec| CodecId(*codec));
        let limits = Limits {
            max_metadata: self.config.max_metadata,
            allow_compressed: self.shared.packing.reads(),
            max_body: self.config.max_payload,
        };
        // A request is a few hundred bytes: it stays where it is until the service takes it.
        let mut decoded = towpath_codec::decode_request(payload, &limits);
        let id = match &decoded {
            Ok(decoded) => decoded.id,
            Err(RequestError::Malformed { id, .. }) => *id,
            Err(RequestError::NoId) => return Err(malformed("REQUEST without a call id")),
        };
        if id <= self.last_id {
            return Err(malformed(format!("call id {id} after {}", self.last_id)));
        }
        self.last_id = id;
        self.times.last_call = arrival;
        let call = match &mut decoded {
            Ok(call) => call,
            Err(error) => {
                let error = Error::new(ErrorKind::Malformed).because(error.to_string());
                self.put(id, &answer::refusal(&error, codec, None), codec);
                return Ok(());
            }
        };
        if call.timeout_ms > 0 {
            let deadline = arrival + Duration::from_millis(call.timeout_ms.into());
            call.request.context_mut().set_deadline(Some(deadline));
            call.request.context_mut().set_stamp(Some(arrival));
            // Its own arrival, or the work before it in the same read, may have used up its time.
            if waited && Instant::now() >= deadline {
                let error = Error::new(ErrorKind::DeadlineExceeded)
                    .with_processed(Processed::No)
                    .because("it had passed before the work could begin");
                self.refuse_call(id, &call.request, &error);
                return Ok(());
            }
        }
        if let Some(kind) = self.refusal() {
            self.refuse_call(id, &call.request, &Error::new(kind));
            return Ok(());
        }
        if !call.request.extensions().is_empty() {
            self.unpack(id, mem::take(&mut call.request), bytes);
            return Ok(());
        }
        self.dispatch(id, &mut decoded, bytes);
        Ok(())
    }

    /// Why no call is taken now, if so.
    #[inline]
    pub(super) fn refusal(&mut self) -> Option<ErrorKind> {
        if let Stage::Draining { .. } = self.stage {
            return Some(ErrorKind::Draining);
        }
        let limit = self.config.max_outstanding as usize;
        if self.outstanding < limit {
            return None;
        }
        self.outstanding = self.shared.lock().calls.len();
        (self.outstanding >= limit).then_some(ErrorKind::Overloaded)
    }

    #[cold]
    pub(super) fn refuse_call(&mut self, id: u64, request: &Request, error: &Error) {
        if request.mode() != Mode::OneWay {
            self.put(id, &answer::refusal(error, request.codec(), Some(request.context())), request.codec());
        }
    }
}

//! What arrives on a connection, and what each frame means.

use super::{
    answer,
    connection::{End, ServerConnection, Stage, malformed},
    watch::TIDY,
};
use crate::traffic::{CutShort, DecodeError};
use bytes::Bytes;
use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{self, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tower_service::Service;
use towpath_codec::{Limits, RequestError, RequestHead, kind};
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
                let read = self.frames(now, bytes);
                self.meter.read(bytes, self.reader.take_count());
                read?;
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
        if !self.times.untidy {
            self.times.untidy = true;
            self.alarm.not_later_than(now + TIDY);
        }
        // A call's time counts from its header, which may have come in an earlier read.
        let mut arrival = self.times.header.take().unwrap_or(now);
        let mut count = 0usize;
        // One guard for all that has arrived together: what a handler's panic ends is its own call.
        loop {
            let taken = catch_unwind(AssertUnwindSafe(|| self.take_frames(now, &mut arrival, &mut count)));
            match taken {
                Ok(taken) => break taken?,
                Err(panic) => self.recover(&*panic)?,
            }
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
    fn take_frames(&mut self, now: Instant, arrival: &mut Instant, count: &mut usize) -> Result<(), End> {
        while let Some(header) = self.reader.next(self.config.max_payload)? {
            *count += 1;
            let arrival = mem::replace(arrival, now);
            let payload = self.reader.payload(header);
            self.frame(header.kind, payload, arrival, *count > 1 || arrival != now)?;
        }
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
                self.writing.short(kind::PONG, id);
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

    #[inline]
    pub(super) fn request(&mut self, payload: Bytes, arrival: Instant, waited: bool) -> Result<(), End> {
        let limits = Limits {
            max_metadata: self.config.max_metadata,
            allow_compressed: self.shared.packing.reads(),
            max_body: self.config.max_payload,
        };
        let read = RequestHead::read(&payload, &limits, &self.known);
        let id = match &read {
            Ok(head) => head.id,
            Err(RequestError::Malformed { id, .. }) => *id,
            Err(RequestError::NoId) => return Err(malformed("REQUEST without a call id")),
        };
        if id <= self.last_id {
            return Err(malformed(format!("call id {id} after {}", self.last_id)));
        }
        self.last_id = id;
        self.times.last_call = arrival;
        let head = match read {
            Ok(head) => head,
            Err(error) => {
                self.malformed_request(id, &payload, &error);
                return Ok(());
            }
        };
        let mut deadline = None;
        if head.timeout_ms > 0 {
            let at = arrival + Duration::from_millis(head.timeout_ms.into());
            deadline = Some(at);
            // Its own arrival, or the work before it in the same read, may have used up its time.
            if waited && Instant::now() >= at {
                self.meter.cut_short(CutShort::Late);
                let error = Error::new(ErrorKind::DeadlineExceeded)
                    .with_processed(Processed::No)
                    .because("it had passed before the work could begin");
                self.refuse_call(head, payload, &error);
                return Ok(());
            }
        }
        if let Some(kind) = self.refusal() {
            self.refuse_call(head, payload, &Error::new(kind));
            return Ok(());
        }
        let due = deadline.map(|at| (at, arrival));
        if head.is_compressed() {
            self.unpack(head, payload, due);
            return Ok(());
        }
        self.dispatch(head, payload, due);
        Ok(())
    }

    #[cold]
    fn malformed_request(&mut self, id: u64, payload: &[u8], error: &RequestError) {
        self.meter.unreadable(DecodeError::Message);
        // Where a malformed request says how it speaks: a fault is answered in kind.
        let codec = payload.get(12).map_or(CodecId::JSON, |codec| CodecId(*codec));
        let error = Error::new(ErrorKind::Malformed).because(error.to_string());
        self.put(id, &answer::refusal(&error, codec, None), codec);
    }

    /// Why no call is taken now, if so.
    #[inline]
    pub(super) fn refusal(&mut self) -> Option<ErrorKind> {
        if let Stage::Draining { .. } = self.stage {
            self.meter.cut_short(CutShort::Draining);
            return Some(ErrorKind::Draining);
        }
        let limit = self.config.max_outstanding as usize;
        if self.outstanding < limit {
            return None;
        }
        self.outstanding = self.shared.lock().calls.len();
        let full = self.outstanding >= limit;
        full.then(|| {
            self.meter.cut_short(CutShort::Overloaded);
            ErrorKind::Overloaded
        })
    }

    #[cold]
    fn refuse_call(&mut self, head: RequestHead, payload: Bytes, error: &Error) {
        let (id, codec) = (head.id, head.codec);
        if head.mode != Mode::OneWay {
            let request = head.into_request(payload);
            self.put(id, &answer::refusal(error, codec, Some(request.context())), codec);
        }
    }
}

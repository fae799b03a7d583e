//! What a call carries from hop to hop: set once, honoured by every layer.

mod current;
mod in_trace;
mod picked;
mod trace;

pub(crate) use current::with_current;
pub use current::{
    Entered, InContext, Scope, background, enter, in_server, last, report_missing, scope, spawn,
};
pub use in_trace::{EnteredTrace, current_trace, enter_trace};
pub use picked::{Listen, pick};
pub use trace::{SpanId, TraceContext, TraceId};

use crate::{Method, Mode};
use bytes::Bytes;
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Which call is shed first when there are too many: 0 goes first, 7 last; 4 is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// Shed first.
    pub const LOWEST: Priority = Priority(0);
    /// Shed last.
    pub const HIGHEST: Priority = Priority(7);

    /// A priority; above 7 is 7.
    pub const fn new(level: u8) -> Self {
        Priority(if level > 7 { 7 } else { level })
    }

    /// 0 to 7.
    pub const fn level(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Priority(4)
    }
}

/// Which endpoint, for as long as this process knows it: the key of an [`Endpoint`](crate::Endpoint).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u64);

/// Deadline, clock reading, trace, attempt, idempotency, priority, affinity, tried endpoints.
///
/// These are typed fields; the transport writes them into the frame, and they are never entries of
/// [`Metadata`](crate::Metadata) on the sending side. Cloning is at most one reference count.
///
/// A call that is made while another one is handled **inherits** from it: see [`Context::inherit`].
#[derive(Clone, Default)]
pub struct Context {
    deadline: Option<Instant>,
    stamp: Option<Instant>,
    /// In halves, and all zero for none: a context is copied with every call, and an `Option` of a
    /// `u128` would take half as much room again.
    trace_id: [u64; 2],
    span_id: u64,
    trace_flags: u8,
    idempotent: bool,
    priority: Priority,
    attempt: u16,
    /// Fields that few calls have, so that the others need not carry their size.
    rare: Option<Arc<Rare>>,
}

#[derive(Clone, Default)]
struct Rare {
    affinity_key: Option<Bytes>,
    session_id: Option<Bytes>,
    idempotency_key: Option<Bytes>,
    authorization: Option<Bytes>,
    tracestate: Option<Bytes>,
    baggage: Option<Bytes>,
    trace_text: Option<Bytes>,
    tried: Vec<EndpointId>,
}

/// The fields that are bytes, seldom there, and all alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// Calls with the same key go to the same endpoint, while it lives.
    AffinityKey,
    /// The session that the call belongs to.
    SessionId,
    /// Calls with the same key are one call: the callee answers a repetition with the first answer.
    IdempotencyKey,
    /// A credential. Never shown, never inherited.
    Authorization,
    /// W3C `tracestate`, as it came.
    Tracestate,
    /// W3C `baggage`, as it came.
    Baggage,
    /// A trace id that is not the 32 hex digits of W3C, as it came.
    TraceText,
}

impl Field {
    /// All of them.
    pub const ALL: [Field; 7] = [
        Field::AffinityKey,
        Field::SessionId,
        Field::IdempotencyKey,
        Field::Authorization,
        Field::Tracestate,
        Field::Baggage,
        Field::TraceText,
    ];

    /// The reserved metadata key under which the field travels.
    pub const fn key(self) -> &'static str {
        match self {
            Field::AffinityKey => "affinity-key",
            Field::SessionId => "session-id",
            Field::IdempotencyKey => "idempotency-key",
            Field::Authorization => "authorization",
            Field::Tracestate => "tracestate",
            Field::Baggage => "baggage",
            Field::TraceText => "trace-id",
        }
    }
}

impl Rare {
    #[cold]
    fn child(&self) -> Option<Arc<Rare>> {
        let passes = self.session_id.is_some()
            || self.tracestate.is_some()
            || self.baggage.is_some()
            || self.trace_text.is_some();
        passes.then(|| {
            Arc::new(Rare {
                session_id: self.session_id.clone(),
                tracestate: self.tracestate.clone(),
                baggage: self.baggage.clone(),
                trace_text: self.trace_text.clone(),
                ..Rare::default()
            })
        })
    }

    fn field(&self, field: Field) -> &Option<Bytes> {
        match field {
            Field::AffinityKey => &self.affinity_key,
            Field::SessionId => &self.session_id,
            Field::IdempotencyKey => &self.idempotency_key,
            Field::Authorization => &self.authorization,
            Field::Tracestate => &self.tracestate,
            Field::Baggage => &self.baggage,
            Field::TraceText => &self.trace_text,
        }
    }

    fn field_mut(&mut self, field: Field) -> &mut Option<Bytes> {
        match field {
            Field::AffinityKey => &mut self.affinity_key,
            Field::SessionId => &mut self.session_id,
            Field::IdempotencyKey => &mut self.idempotency_key,
            Field::Authorization => &mut self.authorization,
            Field::Tracestate => &mut self.tracestate,
            Field::Baggage => &mut self.baggage,
            Field::TraceText => &mut self.trace_text,
        }
    }
}

impl Context {
    /// No deadline, no trace, first attempt, default priority.
    pub const fn new() -> Self {
        Context {
            deadline: None,
            stamp: None,
            trace_id: [0; 2],
            span_id: 0,
            trace_flags: 0,
            idempotent: false,
            priority: Priority(4),
            attempt: 0,
            rare: None,
        }
    }

    /// The context for a call that is made now: what the call that this task handles passes on, or an
    /// empty one.
    ///
    /// Passed on are the deadline, the trace (with tracestate, baggage and a foreign trace id), the
    /// priority, the session, and the attempt number (a call below a retry knows that it is one, so that
    /// retries do not multiply down a chain). Not passed on are what belongs to one call only: the clock
    /// reading, idempotency and its key, the affinity key, the credential, and the endpoints tried.
    #[inline]
    pub fn inherit() -> Self {
        let mut context = Self::new();
        context.inherit_here();
        context
    }

    /// Makes of a new context one that [inherits](Self::inherit), where it is: one that is moved is copied in pieces
    /// other than those in which it was written, and the processor waits for its own stores then.
    #[inline]
    pub(crate) fn inherit_here(&mut self) {
        if current::has_legacy() {
            self.fill_in();
        }
    }

    #[inline(never)]
    fn fill_in(&mut self) {
        *self = current::with_current(Context::child).unwrap_or_default();
    }

    /// What a call below this one inherits: see [`Context::inherit`].
    pub fn child(&self) -> Self {
        let rare = self.rare.as_deref().and_then(Rare::child);
        Context {
            deadline: self.deadline,
            stamp: None,
            trace_id: self.trace_id,
            span_id: self.span_id,
            trace_flags: self.trace_flags,
            idempotent: false,
            priority: self.priority,
            attempt: self.attempt,
            rare,
        }
    }

    /// When the answer is of no use any more.
    #[inline]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Sets the deadline, or removes it.
    #[inline]
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Sets the deadline unless an earlier one is there; says which one holds now.
    #[inline]
    pub fn tighten_deadline(&mut self, deadline: Instant) -> Instant {
        let tighter = self.deadline.map_or(deadline, |own| own.min(deadline));
        self.deadline = Some(tighter);
        tighter
    }

    /// What is left of the deadline; `None` without one, zero when it has passed.
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(now))
    }

    /// The last reading of the clock for this call, if there was one.
    #[inline]
    pub fn stamp(&self) -> Option<Instant> {
        self.stamp
    }

    /// Leaves a reading for the layers below. Whoever waited reads anew before passing the call on, or
    /// clears the stamp.
    #[inline]
    pub fn set_stamp(&mut self, stamp: Option<Instant>) {
        self.stamp = stamp;
    }

    /// The trace and the span that the call belongs to.
    #[inline]
    pub fn trace(&self) -> Option<TraceContext> {
        let [high, low] = self.trace_id;
        if high | low == 0 {
            return None;
        }
        Some(TraceContext {
            trace_id: TraceId(u128::from(high) << 64 | u128::from(low)),
            span_id: SpanId(self.span_id),
            flags: self.trace_flags,
        })
    }

    /// Sets the trace and the span. A trace id of zero is none, as W3C has it.
    #[inline]
    pub fn set_trace(&mut self, trace: Option<TraceContext>) {
        match trace {
            Some(trace) => {
                let id = trace.trace_id.0;
                self.trace_id = [(id >> 64) as u64, id as u64];
                self.span_id = trace.span_id.0;
                self.trace_flags = trace.flags;
            }
            None => (self.trace_id, self.span_id, self.trace_flags) = ([0; 2], 0, 0),
        }
    }

    /// The trace id as text: W3C's 32 digits, or the foreign one as it came; `None` without a trace.
    pub fn trace_id_text(&self) -> Option<String> {
        match self.field(Field::TraceText) {
            Some(text) => Some(String::from_utf8_lossy(text).into_owned()),
            None => self.trace().map(|trace| trace.trace_id.to_string()),
        }
    }

    /// 0 for a first attempt; above it, the call is a retry (here or further up).
    #[inline]
    pub fn attempt(&self) -> u16 {
        self.attempt
    }

    /// Sets the attempt number.
    pub fn set_attempt(&mut self, attempt: u16) {
        self.attempt = attempt;
    }

    /// Whether the call may be made twice without harm.
    #[inline]
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// Says whether the call may be made twice without harm.
    pub fn set_idempotent(&mut self, idempotent: bool) {
        self.idempotent = idempotent;
    }

    /// Which call is shed first.
    #[inline]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Sets the priority.
    pub fn set_priority(&mut self, priority: Priority) {
        self.priority = priority;
    }

    /// One of the fields that few calls have.
    #[inline]
    pub fn field(&self, field: Field) -> Option<&Bytes> {
        self.rare.as_deref()?.field(field).as_ref()
    }

    /// Whether none of the fields that few calls have is set.
    #[inline]
    pub fn has_fields(&self) -> bool {
        self.rare.is_some()
    }

    /// Sets one of the fields that few calls have, or removes it.
    pub fn set_field(&mut self, field: Field, value: Option<Bytes>) {
        if value.is_some() || self.rare.is_some() {
            *Arc::make_mut(self.rare.get_or_insert_default()).field_mut(field) = value;
        }
    }

    /// Whether there is nothing in it that a call below would inherit, or that goes into a frame.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.deadline.is_none()
            && self.trace_id == [0; 2]
            && self.attempt == 0
            && self.priority == Priority(4)
            && self.rare.is_none()
    }

    /// The endpoints that earlier attempts of this call went to.
    pub fn tried(&self) -> &[EndpointId] {
        self.rare.as_deref().map_or(&[], |rare| &rare.tried)
    }

    /// Notes an endpoint that an attempt went to.
    pub fn add_tried(&mut self, endpoint: EndpointId) {
        let tried = &mut Arc::make_mut(self.rare.get_or_insert_default()).tried;
        if !tried.contains(&endpoint) {
            tried.push(endpoint);
        }
    }
}

/// Credentials and keys are not shown.
impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Context");
        out.field("deadline", &self.deadline)
            .field("trace", &self.trace())
            .field("attempt", &self.attempt)
            .field("priority", &self.priority.0)
            .field("idempotent", &self.idempotent);
        for field in Field::ALL.into_iter().filter(|field| self.field(*field).is_some()) {
            out.field(field.key(), &"…");
        }
        out.finish_non_exhaustive()
    }
}

/// Reads the context of a request type.
///
/// [`Request`](crate::Request) has one always; with the `http` feature `http::Request` has the one in its
/// extensions, if a layer or the server put it there. For foreign types a layer takes an extractor.
pub trait HasContext {
    /// The context, if the request has one.
    fn context(&self) -> Option<&Context>;

    /// The context, made if it can be.
    fn context_mut(&mut self) -> Option<&mut Context>;

    /// Whether the call may be made twice without harm: what the context says, unless the request itself does.
    fn is_idempotent(&self) -> bool {
        self.context().is_some_and(Context::is_idempotent)
    }

    /// What the caller wants to hear, and when.
    fn mode(&self) -> Mode {
        Mode::Unary
    }

    /// What is called, if the request has a name for it.
    fn method(&self) -> Option<&Method> {
        None
    }
}

impl<B> HasContext for crate::Request<B> {
    #[inline]
    fn context(&self) -> Option<&Context> {
        Some(crate::Request::context(self))
    }

    #[inline]
    fn context_mut(&mut self) -> Option<&mut Context> {
        Some(crate::Request::context_mut(self))
    }

    fn mode(&self) -> Mode {
        crate::Request::mode(self)
    }

    #[inline]
    fn method(&self) -> Option<&Method> {
        Some(crate::Request::method(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_inherits_what_is_the_whole_tree_s() {
        let now = Instant::now();
        let mut parent = Context::new();
        parent.set_deadline(Some(now + Duration::from_secs(1)));
        parent.set_stamp(Some(now));
        parent.set_attempt(2);
        parent.set_idempotent(true);
        parent.set_priority(Priority::new(7));
        parent.add_tried(EndpointId(9));
        for field in Field::ALL {
            parent.set_field(field, Some(Bytes::from_static(b"v")));
        }
        let child = parent.child();
        assert_eq!(child.deadline(), parent.deadline());
        assert_eq!(child.attempt(), 2);
        assert_eq!(child.priority().level(), 7);
        assert!(child.stamp().is_none() && !child.is_idempotent() && child.tried().is_empty());
        for field in Field::ALL {
            let passes =
                matches!(field, Field::SessionId | Field::Tracestate | Field::Baggage | Field::TraceText);
            assert_eq!(child.field(field).is_some(), passes, "{field:?}");
        }
        let mut plain = Context::new();
        plain.add_tried(EndpointId(1));
        assert!(!plain.child().has_fields());
    }

    #[test]
    fn the_tighter_deadline_holds() {
        let now = Instant::now();
        let (soon, late) = (now + Duration::from_secs(1), now + Duration::from_secs(2));
        let mut c = Context::new();
        assert_eq!(c.tighten_deadline(late), late);
        assert_eq!(c.tighten_deadline(soon), soon);
        assert_eq!(c.tighten_deadline(late), soon);
        assert_eq!(c.remaining(late), Some(Duration::ZERO));
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut c = Context::new();
        c.set_field(Field::Authorization, Some(Bytes::from_static(b"hush")));
        let text = format!("{c:?}");
        assert!(text.contains("authorization") && !text.contains("hush"), "{text}");
    }

    #[test]
    fn it_is_small() {
        assert!(size_of::<Context>() <= 72, "{}", size_of::<Context>());
    }
}

//! The trace of the call that a task is handling, changed by whoever makes a span of it.

use super::{
    Context,
    current::{CURRENT, INSIDE, Inside, with_current},
    trace::TraceContext,
};
use std::marker::PhantomData;

/// The trace, and the span in it, of the call that this task handles; `None` outside any call and for a call
/// without a trace. Costs no reference count.
///
/// ```
/// use towpath_core::{Context, context::{self, TraceContext}};
/// let mut context = Context::new();
/// context.set_trace(Some(TraceContext::random(true)));
/// let _inside = context::enter(&context);
/// assert_eq!(context::current_trace(), context.trace());
/// ```
#[inline]
pub fn current_trace() -> Option<TraceContext> {
    match INSIDE.get() {
        Inside::Simple | Inside::Whole => with_current(Context::trace).flatten(),
        Inside::Nothing | Inside::Plain => None,
    }
}

/// Enters another span of the current call: until the guard is dropped, calls that are made here are its
/// children, and what is logged here is its own. Whoever makes spans does it around each poll of what runs in
/// one. All else that the current context holds stays as it is; outside any call there is a context with this
/// trace and nothing else.
///
/// A current call that has no trace keeps this one: whoever answers for it later can say which it was.
#[inline]
pub fn enter_trace(trace: TraceContext) -> EnteredTrace {
    let inside = INSIDE.get();
    let known = matches!(inside, Inside::Simple | Inside::Whole);
    let outer = CURRENT.try_with(|current| {
        let mut current = current.try_borrow_mut().ok()?;
        if !known {
            // What is left over of another call.
            *current = Context::new();
        }
        let outer = current.trace();
        current.set_trace(Some(trace));
        Some(outer)
    });
    let Ok(Some(outer)) = outer else { return EnteredTrace { back: None, here: PhantomData } };
    if !known {
        INSIDE.set(Inside::Simple);
    }
    let back = match (inside, outer) {
        (Inside::Nothing, _) => Some(Back::Leave),
        (_, Some(outer)) => Some(Back::To(outer)),
        (_, None) => None,
    };
    EnteredTrace { back, here: PhantomData }
}

/// A span is entered until this is dropped; see [`enter_trace`].
#[derive(Debug)]
#[must_use = "dropping it leaves the span at once"]
pub struct EnteredTrace {
    back: Option<Back>,
    /// It is of this thread.
    here: PhantomData<*const ()>,
}

#[derive(Debug)]
enum Back {
    /// There was no call.
    Leave,
    /// The span that it was entered from.
    To(TraceContext),
}

impl Drop for EnteredTrace {
    #[inline]
    fn drop(&mut self) {
        match self.back {
            None => {}
            Some(Back::Leave) => INSIDE.set(Inside::Nothing),
            Some(Back::To(outer)) => {
                let _ = CURRENT.try_with(|current| {
                    if let Ok(mut current) = current.try_borrow_mut() {
                        current.set_trace(Some(outer));
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Request,
        context::{Field, SpanId, enter, scope, spawn},
    };
    use std::time::Duration;
    use tokio::time::Instant;

    fn trace() -> TraceContext {
        TraceContext::random(true)
    }

    fn seen() -> Option<TraceContext> {
        let inherited = Request::new("A.B", ()).context().trace();
        assert_eq!(inherited, current_trace());
        inherited
    }

    #[test]
    fn outside_any_call_there_is_nothing_after_it() {
        let own = trace();
        {
            let _own = enter_trace(own);
            assert_eq!(seen(), Some(own));
            let inner = TraceContext { span_id: SpanId(9), ..own };
            {
                let _inner = enter_trace(inner);
                assert_eq!(seen(), Some(inner));
            }
            assert_eq!(seen(), Some(own));
        }
        assert_eq!(seen(), None);
        assert!(with_current(|_| ()).is_none());
    }

    #[test]
    fn what_else_a_call_has_stays() {
        let mut context = Context::new();
        let deadline = Some(Instant::now() + Duration::from_secs(1));
        context.set_deadline(deadline);
        context.set_field(Field::SessionId, Some("s".into()));
        context.set_trace(Some(trace()));
        let entered = enter(&context);
        let own = TraceContext { span_id: SpanId(7), ..context.trace().unwrap() };
        {
            let _own = enter_trace(own);
            let child = Context::inherit();
            assert_eq!((child.trace(), child.deadline()), (Some(own), deadline));
            assert_eq!(child.field(Field::SessionId).unwrap(), "s");
        }
        assert_eq!(seen(), context.trace());
        drop(entered);
        assert!(with_current(|_| ()).is_none());
    }

    #[test]
    fn a_call_without_a_trace_keeps_it_until_it_is_left() {
        let mut deadline = Context::new();
        deadline.set_deadline(Some(Instant::now()));
        let mut noisy = Context::new();
        noisy.set_trace(Some(trace()));
        for context in [Context::new(), deadline] {
            // What another call has left over is not seen.
            drop(enter(&noisy));
            let entered = enter(&context);
            let own = trace();
            drop(enter_trace(own));
            assert_eq!(seen(), Some(own));
            let left = entered.leave();
            assert_eq!((left.trace(), left.deadline()), (Some(own), context.deadline()));
            assert_eq!(seen(), None);
            assert!(with_current(|_| ()).is_none());
        }
    }

    #[tokio::test]
    async fn a_spawned_task_keeps_it() {
        let own = trace();
        scope(Context::new(), async {
            let task = {
                let _own = enter_trace(own);
                spawn(async { current_trace() })
            };
            assert_eq!(task.await.unwrap(), Some(own));
        })
        .await;
    }

    #[test]
    fn a_panic_leaves_it() {
        let own = trace();
        let blown = std::panic::catch_unwind(|| {
            let _own = enter_trace(own);
            panic!("on purpose");
        });
        assert!(blown.is_err());
        assert_eq!(seen(), None);
    }
}

//! Which endpoint an attempt went to: said below, heard above, without anything handed from one to the other.

use super::EndpointId;
use std::cell::Cell;

thread_local! {
    static PICKED: Cell<Option<EndpointId>> = const { Cell::new(None) };
}

/// Says which endpoint the attempt that is being called or polled on this thread goes to. Whoever picks
/// endpoints says it when it picks; nobody has to listen. The last word counts.
#[inline]
pub fn pick(endpoint: EndpointId) {
    PICKED.set(Some(endpoint));
}

/// Calls or polls an attempt, and hears which endpoint it [went to](pick), if that was said meanwhile: for who
/// plans attempts, and wants the next one to go elsewhere, also while this one still waits.
#[inline]
pub fn picked<R>(attempt: impl FnOnce() -> R) -> (R, Option<EndpointId>) {
    // On unwinding too: what is around hears its own.
    struct Restore(Option<EndpointId>);
    impl Drop for Restore {
        #[inline]
        fn drop(&mut self) {
            PICKED.set(self.0);
        }
    }
    let _restore = Restore(PICKED.replace(None));
    let outcome = attempt();
    (outcome, PICKED.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn each_hears_what_was_said_within() {
        let (outer, heard) = picked(|| {
            pick(EndpointId(1));
            let ((), inner) = picked(|| pick(EndpointId(2)));
            let (quiet, nothing) = picked(|| 7);
            (inner, quiet, nothing)
        });
        assert_eq!(outer, (Some(EndpointId(2)), 7, None));
        assert_eq!(heard, Some(EndpointId(1)));
        pick(EndpointId(3));
        assert_eq!(picked(|| ()).1, None);
        assert!(catch_unwind(|| picked(|| std::panic::resume_unwind(Box::new("on purpose")))).is_err());
        assert_eq!(PICKED.get(), Some(EndpointId(3)));
    }
}

//! An allocator that can count, and that can be changed from outside.
//!
//! A program takes it with `#[global_allocator] static ALLOCATOR: Switched = Switched;`. It is the system's
//! malloc, or mimalloc (feature `peers`) where the environment says `TOWPATH_BENCH_ALLOCATOR=mimalloc`: one build
//! serves both, so that nothing else differs between them. The price is a load and a branch for each allocation.

use crate::side::Side;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The variable that chooses the allocator of a process.
pub const VARIABLE: &str = "TOWPATH_BENCH_ALLOCATOR";

/// The value of [`VARIABLE`] for mimalloc.
pub const MIMALLOC: &str = "mimalloc";

/// What was allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    /// How many times; a block that is made larger or smaller counts again.
    pub count: u64,
    /// How many bytes, those that were given back included.
    pub bytes: u64,
}

impl Allocated {
    /// What came since an earlier look.
    #[must_use]
    pub fn since(self, before: Allocated) -> Allocated {
        Allocated { count: self.count - before.count, bytes: self.bytes - before.bytes }
    }
}

static COUNTING: AtomicBool = AtomicBool::new(false);
static COUNTS: [(AtomicU64, AtomicU64); 2] = [const { (AtomicU64::new(0), AtomicU64::new(0)) }; 2];

/// Counts from now on, or no longer. It does not at the beginning: what is timed is not to be slowed down.
pub fn count(on: bool) {
    COUNTING.store(on, Relaxed);
}

/// What one side has allocated while it was counted.
pub fn allocated(side: Side) -> Allocated {
    let (count, bytes) = &COUNTS[side as usize];
    Allocated { count: count.load(Relaxed), bytes: bytes.load(Relaxed) }
}

#[inline]
fn note(bytes: usize) {
    if COUNTING.load(Relaxed) {
        let (count, sum) = &COUNTS[Side::current() as usize];
        count.fetch_add(1, Relaxed);
        sum.fetch_add(bytes as u64, Relaxed);
    }
}

pub use switched::Switched;

#[allow(unsafe_code)]
mod switched {
    use super::note;
    use std::alloc::{GlobalAlloc, Layout, System};

    /// The allocator; see the [module](super).
    #[derive(Debug)]
    pub struct Switched;

    // SAFETY: every request goes as it came to one allocator, and to the same one for the life of the process.
    unsafe impl GlobalAlloc for Switched {
        #[inline]
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            note(layout.size());
            #[cfg(feature = "peers")]
            if mimalloc::chosen() {
                // SAFETY: as the caller promised.
                return unsafe { ::mimalloc::MiMalloc.alloc(layout) };
            }
            // SAFETY: as the caller promised.
            unsafe { System.alloc(layout) }
        }

        #[inline]
        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            #[cfg(feature = "peers")]
            if mimalloc::chosen() {
                // SAFETY: as the caller promised; `at` came from this allocator, for the choice never changes.
                return unsafe { ::mimalloc::MiMalloc.dealloc(at, layout) };
            }
            // SAFETY: as the caller promised.
            unsafe { System.dealloc(at, layout) }
        }

        #[inline]
        unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            note(size);
            #[cfg(feature = "peers")]
            if mimalloc::chosen() {
                // SAFETY: as the caller promised; `at` came from this allocator, for the choice never changes.
                return unsafe { ::mimalloc::MiMalloc.realloc(at, layout, size) };
            }
            // SAFETY: as the caller promised.
            unsafe { System.realloc(at, layout, size) }
        }
    }

    #[cfg(feature = "peers")]
    mod mimalloc {
        use std::{
            ffi::CStr,
            sync::atomic::{AtomicU8, Ordering::Relaxed},
        };

        const UNKNOWN: u8 = 0;
        const YES: u8 = 1;
        const NO: u8 = 2;

        static CHOICE: AtomicU8 = AtomicU8::new(UNKNOWN);

        #[inline]
        pub(super) fn chosen() -> bool {
            match CHOICE.load(Relaxed) {
                UNKNOWN => choose(),
                choice => choice == YES,
            }
        }

        /// At the first allocation of the process, which is before there is a second thread.
        #[cold]
        fn choose() -> bool {
            const NAME: &CStr = c"TOWPATH_BENCH_ALLOCATOR";
            // SAFETY: the name ends with a nul. Nobody changes the environment meanwhile, for nobody else runs;
            // and what is found is only read, here and now.
            let chosen = unsafe {
                let value = libc::getenv(NAME.as_ptr());
                !value.is_null() && CStr::from_ptr(value).to_bytes() == super::super::MIMALLOC.as_bytes()
            };
            CHOICE.store(if chosen { YES } else { NO }, Relaxed);
            chosen
        }
    }
}

//! What each policy layer adds to a call that succeeds, in nanoseconds, allocations and instructions; with the feature
//! `peers`, beside others' counterparts.
//!
//! ```text
//! policies [--only retry,…] [--ours] [--rounds N] [--contended N] [--no-instructions] [--check LIMITS.toml]
//! ```

use std::process::ExitCode;
use towpath_benches::{Failure, alloc::Switched};

#[global_allocator]
static ALLOCATOR: Switched = Switched;

fn main() -> Result<ExitCode, Failure> {
    towpath_benches::policies::main()
}

//! Connections for tests: in memory, and on purpose bad.

mod faulty;
mod memory;

pub use faulty::{FaultyIo, Script};
pub use memory::{Link, MemoryIo};

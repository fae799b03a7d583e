//! What services fail with on purpose: codes, faults, their forms on the wire, and the way to declare them.

mod code;
mod convert;
mod declare;
mod value;
mod wire;

pub use code::{ErrorCode, InvalidCode, Level};
pub use declare::{Declared, Traits};
pub use value::Fault;
pub use wire::{Brief, InvalidFault};

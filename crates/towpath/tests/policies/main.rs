//! Whole stacks with their policies, over a network in memory and in virtual time: what happens in ten seconds of a
//! thousand calls a second is over in one, and is the same each time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chain;
mod config;
mod house;
mod overload;

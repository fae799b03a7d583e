//! What is fuzzed, and what must hold for any input. A target is a function `check` that panics when
//! something does not; `targets/` has the few lines that give it to libFuzzer, and
//! `crates/transport/tests/corpus.rs` includes this file to run the corpus in an ordinary test.
//!
//! Inputs are plain bytes. `frames`, `envelope`, `metadata` and `text` read them as what they are about;
//! `server` and `client` as a script of what happens on a connection (`script`), so that a mutation gives
//! another sequence of events instead of noise.

pub mod client;
pub mod envelope;
pub mod frames;
mod memory;
pub mod metadata;
mod pipe;
mod script;
pub mod seeds;
pub mod server;
pub mod text;
mod wire;

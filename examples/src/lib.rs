//! What the programs of this folder are made of.
//!
//! The small ones are one file each, beside this folder's `Cargo.toml`. The storefront is a library with a
//! `main` of three lines, so that its parts are tested by `cargo test` like everything else.

pub mod storefront;

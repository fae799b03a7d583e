//! What the programs of this folder are made of.
//!
//! The small ones are one file each, beside this folder's `Cargo.toml`. The storefront and the soak are
//! libraries with a `main` of three lines, so that their parts are tested by `cargo test` like everything else.

pub mod soak;
pub mod storefront;

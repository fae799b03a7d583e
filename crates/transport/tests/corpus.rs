//! Every input in `fuzz/corpus`, given to what it is for: inputs that led the fuzzer somewhere, those that
//! once found a bug, and the protocol's test vectors.
//!
//! The code is that of the fuzz targets. It needs no fuzzer.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../fuzz/src/lib.rs"]
mod fuzz;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let (mut count, mut bad) = (0, Vec::new());
    for input in fs::read_dir(&folder).unwrap() {
        let input = input.unwrap().path();
        let bytes = fs::read(&input).unwrap();
        // All of them are named, not the first one only.
        if catch_unwind(AssertUnwindSafe(|| check(&bytes))).is_err() {
            bad.push(input);
        }
        count += 1;
    }
    assert!(bad.is_empty(), "{target} fails for {bad:#?}");
    assert!(count >= 15, "only {count} inputs in {}", folder.display());
}

#[test]
fn frames() {
    replay("frames", fuzz::frames::check);
}

#[test]
fn envelope() {
    replay("envelope", fuzz::envelope::check);
}

#[test]
fn metadata() {
    replay("metadata", fuzz::metadata::check);
}

#[test]
fn text() {
    replay("text", fuzz::text::check);
}

#[test]
fn server() {
    replay("server", fuzz::server::check);
}

#[test]
fn client() {
    replay("client", fuzz::client::check);
}

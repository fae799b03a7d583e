//! Every input in `fuzz/corpus` (what led the fuzzer somewhere, and what once found a bug), and the protocol's
//! test vectors, given to what they are for.
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
    let mut inputs = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    for input in fs::read_dir(&folder).unwrap() {
        let input = input.unwrap().path();
        inputs.push((input.display().to_string(), fs::read(input).unwrap()));
    }
    assert!(inputs.len() > 40, "only {} inputs in {}", inputs.len(), folder.display());
    fuzz::seeds::each(|of, name, input| {
        if of == target {
            inputs.push((name.to_owned(), input.to_vec()));
        }
    });
    // All that fail are named, not the first one only.
    let fails = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| check(input))).is_err();
    let bad: Vec<_> = inputs.iter().filter(|(_, input)| fails(input)).map(|(name, _)| name).collect();
    assert!(bad.is_empty(), "{target} fails for {bad:#?}");
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

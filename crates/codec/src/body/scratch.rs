//! Buffers that a thread reuses when it writes bodies.

use bytes::{Bytes, BytesMut};
use std::cell::Cell;

/// Bodies up to this size share a block; a larger one gets memory of its own, so that a body that is kept
/// for long never holds more than a block beside itself.
const SMALL: usize = 1 << 10;
const BLOCK: usize = 8 << 10;
/// A buffer above this size is given away with its body instead of being kept for the next one.
const KEEP: usize = 64 << 10;

thread_local! {
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch { out: Vec::new(), block: None }) };
}

#[derive(Default)]
struct Scratch {
    out: Vec<u8>,
    block: Option<BytesMut>,
}

/// What `write` appends, as bytes of their own.
pub(super) fn collect<E>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<Bytes, E> {
    // Taken out while it is in use: a `write` that itself collects, or a thread that is ending, has a new one.
    let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
    scratch.out.clear();
    let body = write(&mut scratch.out).map(|()| scratch.share());
    let _ = SCRATCH.try_with(|kept| kept.set(scratch));
    body
}

impl Scratch {
    fn share(&mut self) -> Bytes {
        if self.out.len() > SMALL {
            // Exact copies while the buffer is worth keeping; no copy above.
            return match self.out.capacity() {
                ..=KEEP => Bytes::copy_from_slice(&self.out),
                _ => Bytes::from(std::mem::take(&mut self.out)),
            };
        }
        let block = self.block.get_or_insert_with(|| BytesMut::with_capacity(BLOCK));
        if block.capacity() < self.out.len() && !block.try_reclaim(self.out.len()) {
            *block = BytesMut::with_capacity(BLOCK);
        }
        block.extend_from_slice(&self.out);
        block.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bytes: &[u8]) -> Bytes {
        collect(|out| {
            out.extend_from_slice(bytes);
            Ok::<(), ()>(())
        })
        .unwrap()
    }

    #[test]
    fn bodies_keep_their_bytes() {
        let sizes = [0, 1, 100, SMALL, SMALL + 1, BLOCK, KEEP, KEEP + 1, 1 << 20, 3];
        let bodies: Vec<_> =
            (0..200).map(|i| (i as u8, body(&vec![i as u8; sizes[i % sizes.len()]]))).collect();
        for (i, (byte, body)) in bodies.iter().enumerate() {
            assert_eq!(body.len(), sizes[i % sizes.len()]);
            assert!(body.iter().all(|b| b == byte), "body {i}");
        }
    }

    #[test]
    fn neighbours_share_a_block_and_a_block_is_used_again() {
        let (a, b) = (body(b"one"), body(b"two"));
        assert_eq!(a.as_ptr().wrapping_add(3), b.as_ptr());
        let first = a.as_ptr();
        drop((a, b));
        let seen = (0..2 * BLOCK / SMALL).any(|_| body(&[7; SMALL]).as_ptr() == first);
        assert!(seen, "with no body alive the same block serves again");
    }

    #[test]
    fn a_write_may_collect_and_a_failed_one_leaves_nothing() {
        let outer = collect(|out| {
            out.extend_from_slice(b"<");
            out.extend_from_slice(&body(b"inner"));
            out.extend_from_slice(b">");
            Ok::<(), ()>(())
        });
        assert_eq!(outer.unwrap(), "<inner>");
        let failed = collect(|out| {
            out.extend_from_slice(b"half");
            Err::<(), _>("no")
        });
        assert_eq!(failed, Err("no"));
        assert_eq!(body(b"whole"), "whole");
    }
}

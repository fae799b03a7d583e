//! zstd frames.

use std::cell::RefCell;
use zstd::bulk::{Compressor, Decompressor};

/// The fastest of its usual levels: higher ones cost more than most networks would.
const LEVEL: i32 = 1;

/// A block has a header of three bytes, and at most this many bytes come of it.
const BLOCK_HEAD: usize = 3;
const BLOCK: usize = 128 * 1024;

thread_local! {
    /// Made at first use, some hundred KiB each: to make one anew costs as much as to compress 10 KiB.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Appends the frame.
pub(super) fn compress(body: &[u8], out: &mut Vec<u8>) -> Option<()> {
    COMPRESSOR.with_borrow_mut(|place| {
        if place.is_none() {
            *place = Some(Compressor::new(LEVEL).ok()?);
        }
        let at = out.len();
        out.resize(at + zstd::zstd_safe::compress_bound(body.len()), 0);
        let written = place.as_mut()?.compress_to_buffer(body, &mut out[at..]).ok()?;
        out.truncate(at + written);
        Some(())
    })
}

/// In one go, into a buffer of the declared length: there is no window to be allocated beside it.
pub(super) fn decompress(data: &[u8], len: usize) -> Option<Vec<u8>> {
    if len / BLOCK > data.len() / BLOCK_HEAD {
        return None;
    }
    DECOMPRESSOR.with_borrow_mut(|place| {
        if place.is_none() {
            *place = Some(Decompressor::new().ok()?);
        }
        let mut out = Vec::with_capacity(len);
        let written = place.as_mut()?.decompress_to_buffer(data, &mut out).ok()?;
        (written == len).then_some(out)
    })
}

//! lz4 blocks.

use lz4_flex::block;

/// No byte of a block comes to more than this many bytes.
const MOST: usize = 255;

/// Appends the block.
pub(super) fn compress(body: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let at = out.len();
    out.resize(at + block::get_maximum_output_size(body.len()), 0);
    let written = block::compress_into(body, &mut out[at..]).ok()?;
    out.truncate(at + written);
    Some(())
}

pub(super) fn decompress(data: &[u8], len: usize) -> Option<Vec<u8>> {
    if len / MOST > data.len() {
        return None;
    }
    let mut out = vec![0; len];
    (block::decompress_into(data, &mut out).ok()? == len).then_some(out)
}

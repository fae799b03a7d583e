//! Trace ids that are none of W3C's.

use towpath_core::context::TraceId;

/// The id of W3C's kind for one of another: the same for all who are told the same. Up to 32 hexadecimal digits are
/// that number; of anything else it is a hash (FNV-1a of 128 bits,
/// <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>).
#[cold]
pub(crate) fn trace_id(text: &[u8]) -> TraceId {
    let digits = text.len() <= 32 && text.iter().all(u8::is_ascii_hexdigit);
    let text_digits = std::str::from_utf8(text).ok().filter(|_| digits);
    let number = text_digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
    TraceId(number.filter(|number| *number != 0).unwrap_or_else(|| fnv(text)).max(1))
}

fn fnv(text: &[u8]) -> u128 {
    text.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash: u128, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_one_is_filled_up_and_a_strange_one_is_hashed() {
        let id = |text: &str| trace_id(text.as_bytes()).to_string();
        assert_eq!(id("a1b2c3D4"), "000000000000000000000000a1b2c3d4");
        assert_eq!(id("0af7651916cd43dd8448eb211c80319c"), "0af7651916cd43dd8448eb211c80319c");
        // FNV-1a 128 of "foobar", as published.
        assert_eq!(trace_id(b"000").0, fnv(b"000"));
        assert_eq!(fnv(b"foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
        assert_eq!(id("request-17"), id("request-17"));
        assert_ne!(id("request-17"), id("request-18"));
    }
}

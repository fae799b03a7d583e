//! Bodies that travel compressed: one byte of algorithm, four of decompressed length, the data.
//!
//! The algorithms are features of this crate; without any of them nothing here can be read or written, and
//! [`readable`] is what to announce either way.

#[cfg(feature = "lz4")]
mod lz4;
#[cfg(not(all(feature = "lz4", feature = "zstd")))]
mod none;
#[cfg(feature = "zstd")]
mod zstd;

#[cfg(not(feature = "lz4"))]
use none as lz4;
#[cfg(not(feature = "zstd"))]
use none as zstd;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{cell::RefCell, fmt};

/// What stands in front of the data.
const HEAD: usize = 5;

/// A thread keeps so much room to compress into; for a larger body it is made anew.
const SCRATCH: usize = 256 * 1024;

thread_local! {
    /// Where bodies are compressed into: how long they become is known only afterwards.
    static SPACE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Algorithm {
    /// An lz4 block: cheap on both sides. Feature `lz4`.
    Lz4,
    /// A zstd frame (level 1): smaller, and about three times the work. Feature `zstd`.
    Zstd,
}

impl Algorithm {
    /// Its bit in SETTINGS key 4.
    pub const fn bit(self) -> u32 {
        match self {
            Algorithm::Lz4 => 1,
            Algorithm::Zstd => 1 << 1,
        }
    }

    /// Its byte in front of a body.
    pub const fn code(self) -> u8 {
        match self {
            Algorithm::Lz4 => 1,
            Algorithm::Zstd => 2,
        }
    }

    /// Whether this build has it.
    pub const fn is_built_in(self) -> bool {
        match self {
            Algorithm::Lz4 => cfg!(feature = "lz4"),
            Algorithm::Zstd => cfg!(feature = "zstd"),
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Algorithm::Lz4, Algorithm::Zstd].into_iter().find(|algorithm| algorithm.code() == code)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Lz4 => "lz4",
            Algorithm::Zstd => "zstd",
        })
    }
}

/// What this build can read, as the value of SETTINGS key 4; 0: nothing.
pub const fn readable() -> u32 {
    let lz4 = if Algorithm::Lz4.is_built_in() { Algorithm::Lz4.bit() } else { 0 };
    let zstd = if Algorithm::Zstd.is_built_in() { Algorithm::Zstd.bit() } else { 0 };
    lz4 | zstd
}

/// Why a compressed body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecompressError(&'static str);

impl DecompressError {
    /// For people.
    pub const fn why(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for DecompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for DecompressError {}

const SHORT: DecompressError = DecompressError("the compressed body is shorter than its head");
const ABOVE: DecompressError = DecompressError("the decompressed body is above the limit");
const UNKNOWN: DecompressError = DecompressError("the body's compression was not announced as readable");
const LYING: DecompressError =
    DecompressError("the compressed body is broken, or not as long as its head says");

/// The decompressed length that a compressed body declares, in bytes. Nothing is decompressed.
///
/// # Errors
/// If it is shorter than its head.
pub fn declared_len(body: &[u8]) -> Result<u32, DecompressError> {
    match body.first_chunk::<HEAD>() {
        Some([_, l0, l1, l2, l3]) => Ok(u32::from_be_bytes([*l0, *l1, *l2, *l3])),
        None => Err(SHORT),
    }
}

/// As [`declared_len`], within a limit.
pub(crate) fn check(body: &[u8], max: u32) -> Result<(), &'static str> {
    match declared_len(body) {
        Ok(len) if len <= max => Ok(()),
        Ok(_) => Err(ABOVE.0),
        Err(error) => Err(error.0),
    }
}

/// A body as it travels compressed, or `None` if that would not be shorter, if the body is longer than
/// 4 GiB, or if the algorithm is not [built in](Algorithm::is_built_in).
///
/// It computes: about 1 µs for 1 KiB with lz4, 4 with zstd.
pub fn compress(algorithm: Algorithm, body: &[u8]) -> Option<Bytes> {
    let len = u32::try_from(body.len()).ok()?;
    SPACE.with_borrow_mut(|space| {
        space.clear();
        space.push(algorithm.code());
        space.extend_from_slice(&len.to_be_bytes());
        let packed = match algorithm {
            Algorithm::Lz4 => lz4::compress(body, space),
            Algorithm::Zstd => zstd::compress(body, space),
        };
        let smaller = packed.filter(|()| space.len() < body.len()).map(|()| Bytes::copy_from_slice(space));
        if space.capacity() > SCRATCH {
            *space = Vec::new();
        }
        smaller
    })
}

/// What a compressed body holds.
///
/// The declared length is checked against `max` (bytes) and against what the data could come to at most,
/// before anything is allocated; the data must come to exactly that length. Whoever sends a few bytes can
/// make it allocate `max` at most.
///
/// # Errors
/// If any of that is not so, if the data is broken, or if the algorithm is not
/// [built in](Algorithm::is_built_in).
pub fn decompress(body: &[u8], max: u32) -> Result<Bytes, DecompressError> {
    let Some((head, data)) = body.split_first_chunk::<HEAD>() else { return Err(SHORT) };
    let len = declared_len(head)?;
    if len > max {
        return Err(ABOVE);
    }
    let algorithm =
        Algorithm::from_code(head[0]).filter(|algorithm| algorithm.is_built_in()).ok_or(UNKNOWN)?;
    let unpacked = match algorithm {
        Algorithm::Lz4 => lz4::decompress(data, len as usize),
        Algorithm::Zstd => zstd::decompress(data, len as usize),
    };
    unpacked.map(Bytes::from).ok_or(LYING)
}

#[cfg(all(test, feature = "lz4", feature = "zstd"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: [Algorithm; 2] = [Algorithm::Lz4, Algorithm::Zstd];
    const MAX: u32 = 1 << 24;

    fn body() -> impl Strategy<Value = Vec<u8>> {
        let runs = proptest::collection::vec((any::<u8>(), 1usize..3000), 0..20);
        let runs = runs.prop_map(|runs| runs.into_iter().flat_map(|(byte, n)| vec![byte; n]).collect());
        prop_oneof![runs, proptest::collection::vec(any::<u8>(), 0..4000)]
    }

    proptest! {
        #[test]
        fn there_and_back(body in body()) {
            for algorithm in BOTH {
                if let Some(packed) = compress(algorithm, &body) {
                    prop_assert!(packed.len() < body.len());
                    prop_assert_eq!(declared_len(&packed), Ok(body.len() as u32));
                    prop_assert_eq!(&decompress(&packed, body.len() as u32).unwrap()[..], &body[..]);
                    prop_assert_eq!(decompress(&packed, body.len() as u32 - 1), Err(ABOVE));
                }
            }
        }

        /// A length that lies, in either direction, and bytes that are not what was sent.
        #[test]
        fn a_lie_is_seen(body in body(), by in 1u32..100_000, longer: bool, at: usize, flip in 1u8..) {
            for algorithm in BOTH {
                let Some(packed) = compress(algorithm, &body) else { continue };
                let len = body.len() as u32;
                let lie = if longer { len + by } else { len.saturating_sub(by) };
                let mut lying = packed.to_vec();
                lying[1..5].copy_from_slice(&lie.to_be_bytes());
                if lie != len {
                    prop_assert_eq!(decompress(&lying, MAX), Err(LYING));
                }
                prop_assert!(decompress(&packed[..packed.len() - 1], MAX).is_err());
                let mut broken = packed.to_vec();
                let at = at % broken.len();
                broken[at] ^= flip;
                // Neither has a checksum: what comes out may be another body, of the declared length.
                if let Ok(other) = decompress(&broken, MAX) {
                    prop_assert_eq!(Ok(other.len() as u32), declared_len(&broken));
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), code in 0u8..4) {
            let _ = decompress(&bytes, MAX);
            let mut bytes = bytes;
            if bytes.len() >= HEAD {
                bytes[0] = code;
                bytes[1] = 0;
                let _ = decompress(&bytes, MAX);
            }
        }
    }

    #[test]
    fn a_length_that_the_data_cannot_come_to_allocates_nothing() {
        for algorithm in BOTH {
            let mut bomb = vec![algorithm.code()];
            bomb.extend_from_slice(&u32::MAX.to_be_bytes());
            bomb.extend_from_slice(&[0x10; 64]);
            // 4 GiB would be noticed.
            assert_eq!(decompress(&bomb, u32::MAX), Err(LYING));
        }
    }

    #[test]
    fn what_does_not_get_shorter_stays_as_it_is() {
        let noise: Vec<u8> = (0..2000).map(|_| random()).collect();
        assert!(BOTH.into_iter().all(|algorithm| compress(algorithm, &noise).is_none()));
        assert!(BOTH.into_iter().all(|algorithm| compress(algorithm, b"").is_none()));
        let zeros = vec![0; 1 << 20];
        assert!(BOTH.into_iter().all(|algorithm| compress(algorithm, &zeros).is_some()));
    }

    fn random() -> u8 {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(0) as u8
    }

    #[test]
    fn an_algorithm_that_nobody_knows() {
        assert_eq!(decompress(&[3, 0, 0, 0, 1, 0], MAX), Err(UNKNOWN));
        assert_eq!(decompress(&[1, 0, 0, 0], MAX), Err(SHORT));
    }
}

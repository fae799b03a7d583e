//! Bodies that travel compressed, where both sides want it.

use crate::config::InvalidConfig;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use towpath_codec::{Algorithm, Compressed, Settings};
use towpath_core::{Error, ErrorKind, Processed, Request, Response};

/// What a side does about compression. Where it is configured, this side announces that it reads whatever
/// algorithms are built in (features `lz4`, `zstd`), and sends compressed what is worth it to a peer that has
/// announced that it can read it.
///
/// On the client bodies are compressed and decompressed in the call's future, so that no other call waits
/// for it. On the server a compressed request always gets a task of its own, and a handler's answer is
/// compressed in the handler's task; an answer of up to 64 KiB that is there at once is compressed in the
/// connection's. What is larger than that goes to a thread for blocking work, but for answers from a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Compression {
    /// What bodies are compressed with; `None`: this side only reads compressed ones. Default: lz4 if that
    /// is built in, else zstd.
    pub send: Option<Algorithm>,
    /// Bodies of fewer bytes are sent as they are, and so are those that do not get shorter. Default 1 KiB.
    pub min_size: usize,
}

impl Compression {
    /// With this algorithm, from 1 KiB on.
    pub fn new(algorithm: Algorithm) -> Self {
        Compression { send: Some(algorithm), ..Compression::default() }
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidConfig> {
        if towpath_codec::readable() == 0 {
            return Err(InvalidConfig::new("compression", "left out: neither lz4 nor zstd is built in"));
        }
        match self.send {
            Some(algorithm) if !algorithm.is_built_in() => {
                Err(InvalidConfig::new("compression.send", "an algorithm that is built in, or none"))
            }
            _ => Ok(()),
        }
    }
}

impl Default for Compression {
    fn default() -> Self {
        let send = [Algorithm::Lz4, Algorithm::Zstd].into_iter().find(|algorithm| algorithm.is_built_in());
        Compression { send, min_size: 1024 }
    }
}

/// One connection's compression: what this side wants, and what the peer can read.
#[derive(Debug)]
pub(crate) struct Packing {
    config: Option<Compression>,
    /// Something is to be compressed: this is all that a connection without compression looks at.
    on: AtomicBool,
    /// The longest body that the peer takes, decompressed.
    peer_max: AtomicU32,
}

/// In the extensions of a request that is sent compressed: its body as it was.
#[derive(Clone)]
struct Original(Bytes);

/// In the extensions of an answer: it was found to be sent as it is.
#[derive(Clone)]
struct Weighed;

impl Packing {
    pub(crate) fn new(config: Option<&Compression>) -> Self {
        Packing {
            config: config.cloned(),
            on: AtomicBool::new(false),
            peer_max: AtomicU32::new(towpath_codec::DEFAULT_MAX_PAYLOAD),
        }
    }

    /// For SETTINGS key 4.
    pub(crate) fn announced(&self) -> Option<u32> {
        self.config.as_ref().map(|_| towpath_codec::readable()).filter(|bits| *bits != 0)
    }

    /// Whether the peer may send compressed bodies.
    #[inline]
    pub(crate) fn reads(&self) -> bool {
        self.config.is_some()
    }

    /// What the peer has said of itself.
    pub(crate) fn heard(&self, settings: &Settings) {
        if let Some(max) = settings.max_payload {
            self.peer_max.store(max, Relaxed);
        }
        if let (Some(bits), Some(algorithm)) = (settings.compression, self.algorithm()) {
            self.on.store(bits & algorithm.bit() != 0, Relaxed);
        }
    }

    fn algorithm(&self) -> Option<Algorithm> {
        self.config.as_ref().and_then(|config| config.send)
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// The body compressed, if that is wanted and worth it.
    #[cold]
    fn pack(&self, body: &[u8]) -> Option<Bytes> {
        let config = self.config.as_ref()?;
        // A longer one is refused by its sender: the limit holds for what comes out of it.
        let fits = body.len() as u64 <= u64::from(self.peer_max.load(Relaxed));
        if body.len() < config.min_size || !fits {
            return None;
        }
        towpath_codec::compress(config.send?, body)
    }

    /// Has a call sent compressed. [`unpacked`] takes that back.
    #[cold]
    pub(crate) fn pack_request(&self, request: &mut Request) {
        if request.extensions().get::<Compressed>().is_some() {
            return;
        }
        if let Some(packed) = self.pack(request.body()) {
            let original = std::mem::replace(request.body_mut(), packed);
            request.extensions_mut().insert(Original(original));
            request.extensions_mut().insert(Compressed);
        }
    }

    /// Whether an answer is to be compressed before it is sent. Faults are short, and are to be seen.
    #[inline]
    pub(crate) fn wants(&self, response: &Response) -> bool {
        self.is_on() && self.is_worth(response)
    }

    #[cold]
    fn is_worth(&self, response: &Response) -> bool {
        let long = self.config.as_ref().is_some_and(|config| response.body().len() >= config.min_size);
        let done = response.extensions().get::<Compressed>().is_some()
            || response.extensions().get::<Weighed>().is_some();
        long && !response.is_fault() && !done
    }

    /// The answer, compressed if that makes it shorter.
    pub(crate) fn packed(&self, mut response: Response) -> Response {
        if let Some(packed) = self.pack(response.body()) {
            *response.body_mut() = packed;
            response.extensions_mut().insert(Compressed);
        } else {
            response.extensions_mut().insert(Weighed);
        }
        response
    }
}

/// The request as it was before it was compressed here.
pub(crate) fn unpacked(mut request: Request) -> Request {
    if let Some(Original(body)) = request.extensions().get().cloned() {
        request.extensions_mut().remove::<Original>();
        request.extensions_mut().remove::<Compressed>();
        *request.body_mut() = body;
    }
    request
}

/// What a compressed body from the peer holds. Its declared length was checked when it was decoded.
pub(crate) fn decompress(body: &[u8]) -> Result<Bytes, Error> {
    towpath_codec::decompress(body, u32::MAX)
        .map_err(|error| Error::new(ErrorKind::Malformed).because(error.why()))
}

/// A call from the wire with its body decompressed.
pub(crate) fn unpack_request(request: &mut Request) -> Result<(), Error> {
    *request.body_mut() = decompress(request.body())?;
    request.extensions_mut().remove::<Compressed>();
    Ok(())
}

/// An answer from the wire with its body decompressed, if it is compressed. A broken one fails its call; the
/// callee may have acted.
#[cold]
pub(crate) fn unpack_response(mut response: Response) -> Result<Response, Error> {
    if response.extensions_mut().remove::<Compressed>() {
        let unknown = |error: Error| error.with_processed(Processed::Unknown);
        *response.body_mut() = decompress(response.body()).map_err(unknown)?;
    }
    Ok(response)
}

//! Names that need not be read again.

use towpath_core::Method;

/// The names of the methods that are called most on one connection: what is found here is neither checked
/// nor counted again. It has room for eight.
#[derive(Clone, Debug)]
pub struct KnownMethods {
    names: [&'static str; KNOWN],
    misses: u8,
}

const KNOWN: usize = 8;

impl KnownMethods {
    /// None yet.
    pub const fn new() -> Self {
        KnownMethods { names: [""; KNOWN], misses: 0 }
    }

    #[inline]
    fn place(name: &[u8]) -> usize {
        // Names of one service differ in length, or at the end.
        let last = name.last().copied().unwrap_or_default();
        (name.len() ^ usize::from(last) ^ usize::from(last >> 3)) % KNOWN
    }

    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<&'static str> {
        let known = self.names[Self::place(name)];
        (known.as_bytes() == name && !name.is_empty()).then_some(known)
    }

    /// Makes a name known, if the process [keeps](Method::intern) it. To be called for methods that exist, as
    /// the answer has shown: what strangers make up is not worth keeping.
    #[cold]
    pub fn learn(&mut self, method: &Method) {
        self.misses = self.misses.wrapping_add(1);
        let place = &mut self.names[Self::place(method.as_bytes())];
        // Two that share a place do not drive each other out at every call.
        if (place.is_empty() || self.misses.is_multiple_of(64))
            && let Some(name) = method.intern()
        {
            *place = name;
        }
    }
}

impl Default for KnownMethods {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HEADER_LEN, Limits, RequestHead, put_request_head};
    use bytes::Bytes;
    use towpath_core::{Context, Request};

    #[test]
    fn what_is_known_is_found_again() {
        let mut known = KnownMethods::new();
        assert_eq!(known.find(b""), None);
        for name in ["Stock.Reserve", "Stock.Release", "Order.Place"] {
            assert_eq!(known.find(name.as_bytes()), None);
            // Two may share a place: then the first stays, mostly.
            known.learn(&Method::from_static(name));
        }
        assert_eq!(known.find(b"Stock.Reserve"), Some("Stock.Reserve"));
        assert_eq!(known.find(b"Stock.Reserv"), None);
        let mut frame = Vec::new();
        let request = Request::with_context("Stock.Reserve", Context::new(), Bytes::from_static(b"x"));
        put_request_head(&mut frame, 7, 0, &request).unwrap();
        frame.extend_from_slice(b"x");
        let payload = Bytes::from(frame).slice(HEADER_LEN..);
        let head = RequestHead::read(&payload, &Limits::default(), &known).unwrap();
        assert!(head.is_known() && head.id == 7);
        let back = head.into_request(payload);
        assert_eq!((back.method().as_str(), &back.body()[..]), ("Stock.Reserve", &b"x"[..]));
    }
}

//! Metadata against a list of pairs.

use super::{memory, script::Script};
use bytes::Bytes;
use std::str;
use towpath_codec::{Limits, decode_request};
use towpath_core::{
    Metadata,
    metadata::{InvalidMetadata, put_entry},
};

type Pairs = Vec<(String, Vec<u8>)>;

/// A byte of length, as many bytes of block; then changes.
pub fn check(data: &[u8]) {
    let mut script = Script::new(data);
    let len = usize::from(script.u16());
    let raw = script.take(len);
    memory::within(|| compare(raw, &mut script), |()| (64 << 10) + 64 * data.len());
}

fn compare(raw: &[u8], script: &mut Script<'_>) {
    let got = Metadata::try_from_wire(Bytes::copy_from_slice(raw));
    let want = reference(raw);
    let mut metadata = match (got, &want) {
        (Ok(metadata), Ok(_)) => metadata,
        (Err(got), Err(want)) => return assert_eq!(got, *want),
        (got, want) => panic!("{got:?} instead of {want:?}"),
    };
    let mut pairs = want.unwrap_or_default();
    same(&metadata, &pairs);
    limits(raw);
    while !script.is_empty() {
        change(script, &mut metadata, &mut pairs);
        same(&metadata, &pairs);
    }
    let back = Metadata::try_from_wire(Bytes::copy_from_slice(metadata.as_wire()));
    assert_eq!(back, Ok(metadata));
}

fn reference(mut raw: &[u8]) -> Result<Pairs, InvalidMetadata> {
    let mut pairs = Vec::new();
    while !raw.is_empty() {
        let [k0, k1, v0, v1, v2, v3, rest @ ..] = raw else { return Err(InvalidMetadata::Truncated) };
        let key_len = usize::from(u16::from_be_bytes([*k0, *k1]));
        let value_len = u32::from_be_bytes([*v0, *v1, *v2, *v3]) as usize;
        if rest.len() < key_len + value_len {
            return Err(InvalidMetadata::Truncated);
        }
        let key = rest[..key_len].to_vec();
        if key.is_empty() {
            return Err(InvalidMetadata::EmptyKey);
        }
        if !key.iter().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()) {
            return Err(InvalidMetadata::BadKey);
        }
        let key = String::from_utf8(key).expect("ASCII");
        pairs.push((key, rest[key_len..key_len + value_len].to_vec()));
        raw = &rest[key_len + value_len..];
    }
    Ok(pairs)
}

fn same(metadata: &Metadata, pairs: &Pairs) {
    let got = metadata.iter().map(|(key, value)| (key.to_owned(), value.to_vec()));
    assert!(got.eq(pairs.iter().cloned()), "{metadata:?} instead of {pairs:?}");
    assert_eq!(metadata.is_empty(), pairs.is_empty());
    for (key, _) in pairs.iter().take(64) {
        let first = pairs.iter().find(|(other, _)| other == key).map(|(_, value)| &value[..]);
        assert_eq!(metadata.get(key), first);
        assert_eq!(metadata.get_bytes(key).as_deref(), first);
        assert_eq!(metadata.get_str(key), first.and_then(|value| str::from_utf8(value).ok()));
    }
    assert_eq!(metadata.get("no-such-key-was-ever-there"), None);
    let mut wire = Vec::new();
    for (key, value) in pairs {
        put_entry(&mut wire, key.as_bytes(), value).expect("short enough");
    }
    assert_eq!(metadata.as_wire(), wire);
}

fn change(script: &mut Script<'_>, metadata: &mut Metadata, pairs: &mut Pairs) {
    let op = script.byte();
    // A key that is there, or one from the script.
    let key = match pairs.get(usize::from(op >> 2)) {
        Some((key, _)) if op & 2 != 0 => key.clone(),
        _ => {
            let len = usize::from(script.byte() & 15);
            String::from_utf8_lossy(script.take(len)).into_owned()
        }
    };
    if op & 1 == 0 {
        let len = usize::from(script.byte() & 31);
        let value = script.take(len).to_vec();
        let fine = !key.is_empty() && key.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase());
        assert_eq!(metadata.insert(&key, &value).is_ok(), fine);
        if fine {
            pairs.retain(|(other, _)| *other != key);
            pairs.push((key, value));
        }
    } else {
        let before = pairs.len();
        pairs.retain(|(other, _)| *other != key);
        assert_eq!(metadata.remove(&key), pairs.len() != before);
    }
}

/// The block's limit is kept where it arrives.
fn limits(raw: &[u8]) {
    let mut payload = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
    payload.extend_from_slice(&(raw.len() as u32).to_be_bytes());
    payload.push(b'm');
    payload.extend_from_slice(raw);
    let payload = Bytes::from(payload);
    let len = raw.len() as u32;
    for max_metadata in [len.saturating_sub(1), len, u32::MAX] {
        let decoded = decode_request(payload.clone(), &Limits { max_metadata, ..Limits::default() });
        assert_eq!(decoded.is_ok(), len <= max_metadata);
    }
}

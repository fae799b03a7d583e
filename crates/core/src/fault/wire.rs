//! The two forms in which a fault travels.

use super::{code::ErrorCode, value::Fault};
use crate::CodecId;
use bytes::Bytes;
use prost::Message;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use std::{borrow::Cow, fmt, time::Duration};

/// A fault's body above this is not read, in bytes: a short one can make many small strings.
const MAX_BODY: usize = 1 << 20;
/// A message or a trace id is cut to this when it is written, in bytes, so that whatever is written can be
/// read: escaped for JSON it is at most six times as long.
const MAX_TEXT: usize = 64 << 10;

/// Why a body is no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidFault {
    /// The answer's status is ok.
    NotAFault,
    /// A fault travels as JSON or as Protobuf.
    Codec(CodecId),
    /// A fault has at most 1 MiB.
    TooLarge,
    /// The body is no fault in its encoding; in what way.
    Body(String),
    /// The code is no error code; what it is.
    Code(String),
}

/// What decides about a fault, without the text: read from a body without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brief {
    /// What failed.
    pub code: ErrorCode,
    /// When another try makes sense; `None`: the service did not say.
    pub retry_after: Option<Duration>,
    /// Whether the service says that it has not acted.
    pub not_processed: bool,
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    error: T,
}

#[derive(Serialize)]
struct Written<'a> {
    code: ErrorCode,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<ErrorCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u32>,
    #[serde(skip_serializing_if = "is_false")]
    not_processed: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    chain: &'a [ErrorCode],
}

#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(default)]
    message: Option<String>,
    #[serde(borrow, default)]
    cause: Option<Cow<'a, str>>,
    #[serde(default)]
    trace_id: Option<Box<str>>,
    #[serde(default)]
    retry_after_ms: Option<u64>,
    #[serde(default)]
    not_processed: Option<bool>,
    #[serde(default)]
    chain: Option<Chain>,
}

#[derive(Deserialize)]
struct ReadBrief<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(default)]
    retry_after_ms: Option<u64>,
    #[serde(default)]
    not_processed: Option<bool>,
}

/// The first codes of a chain, however long the peer made it.
#[derive(Default)]
struct Chain(Vec<ErrorCode>);

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Codes;
        impl<'de> Visitor<'de> for Codes {
            type Value = Chain;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of error codes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Chain, A::Error> {
                let mut codes = Vec::new();
                while codes.len() < Fault::MAX_CHAIN {
                    match seq.next_element::<Cow<'de, str>>()? {
                        Some(text) => codes.extend(ErrorCode::new(&text)),
                        None => return Ok(Chain(codes)),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Chain(codes))
            }
        }
        deserializer.deserialize_seq(Codes)
    }
}

#[derive(Clone, PartialEq, Message)]
struct Proto {
    #[prost(string, tag = "1")]
    code: String,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(string, tag = "3")]
    cause: String,
    #[prost(string, tag = "4")]
    trace_id: String,
    #[prost(uint32, tag = "5")]
    retry_after_ms: u32,
    #[prost(bool, tag = "6")]
    not_processed: bool,
    #[prost(string, repeated, tag = "7")]
    chain: Vec<String>,
}

/// The same message for a reader who does not want the rest.
#[derive(Clone, PartialEq, Message)]
struct ProtoBrief {
    #[prost(string, tag = "1")]
    code: String,
    #[prost(uint32, tag = "5")]
    retry_after_ms: u32,
    #[prost(bool, tag = "6")]
    not_processed: bool,
}

impl Fault {
    /// The body for codec 1: `{"error":{"code":…,"message":…,"cause":…,"trace_id":…}}`. What is not set is
    /// left out; a message above 64 KiB is cut.
    pub fn to_json(&self) -> Bytes {
        let error = Written {
            code: self.code(),
            message: cut(self.message()),
            cause: self.cause(),
            trace_id: self.trace_id().map(cut),
            retry_after_ms: self.retry_after().map(millis),
            not_processed: self.not_processed(),
            chain: self.chain(),
        };
        // Strings, numbers and a vector to write to: nothing in it can fail.
        serde_json::to_vec(&Envelope { error }).unwrap_or_default().into()
    }

    /// Reads the body for codec 1. Members that are not known are ignored; `null` is as good as left out.
    ///
    /// # Errors
    /// If it is above 1 MiB, is no JSON, has no code, or a member is of another type than it should be. A
    /// cause or an entry of the chain that is no code is left out: the fault itself matters more.
    pub fn from_json(body: &[u8]) -> Result<Fault, InvalidFault> {
        let read: Envelope<Read<'_>> = json(body)?;
        let read = read.error;
        Ok(fault(
            code(&read.code)?,
            read.message.unwrap_or_default(),
            read.cause.as_deref(),
            // An empty one is none, as in Protobuf: an answer that is passed on has to have one.
            read.trace_id.filter(|id| !id.is_empty()),
            read.chain.unwrap_or_default().0,
        )
        .with_retry_after(read.retry_after_ms.map(Duration::from_millis))
        .with_not_processed(read.not_processed.unwrap_or(false)))
    }

    /// The body for codec 2.
    pub fn to_protobuf(&self) -> Bytes {
        let proto = Proto {
            code: self.code().to_string(),
            message: cut(self.message()).to_owned(),
            cause: self.cause().map(|code| code.to_string()).unwrap_or_default(),
            trace_id: self.trace_id().map(cut).unwrap_or_default().to_owned(),
            // 0 is not there.
            retry_after_ms: self.retry_after().map(|after| millis(after).max(1)).unwrap_or(0),
            not_processed: self.not_processed(),
            chain: self.chain().iter().map(ErrorCode::to_string).collect(),
        };
        proto.encode_to_vec().into()
    }

    /// Reads the body for codec 2. Fields that are not known are ignored.
    ///
    /// # Errors
    /// If it is above 1 MiB, is no Protobuf, or has no code. A cause or an entry of the chain that is no
    /// code is left out.
    pub fn from_protobuf(body: &[u8]) -> Result<Fault, InvalidFault> {
        let read: Proto = protobuf(body)?;
        let chain = read.chain.iter().take(Fault::MAX_CHAIN).filter_map(|text| ErrorCode::new(text).ok());
        let trace_id = (!read.trace_id.is_empty()).then(|| read.trace_id.into_boxed_str());
        Ok(fault(code(&read.code)?, read.message, Some(&read.cause), trace_id, chain.collect())
            .with_retry_after(set_millis(read.retry_after_ms))
            .with_not_processed(read.not_processed))
    }

    /// Reads the body for a codec.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json) and [`from_protobuf`](Self::from_protobuf); and for any codec but
    /// these two.
    pub fn from_body(codec: CodecId, body: &[u8]) -> Result<Fault, InvalidFault> {
        match codec {
            CodecId::JSON => Fault::from_json(body),
            CodecId::PROTOBUF => Fault::from_protobuf(body),
            other => Err(InvalidFault::Codec(other)),
        }
    }
}

impl Brief {
    /// Reads what decides from the body of a fault.
    ///
    /// # Errors
    /// As [`Fault::from_body`], but for the members that it does not look at.
    pub fn from_body(codec: CodecId, body: &[u8]) -> Result<Brief, InvalidFault> {
        match codec {
            CodecId::JSON => {
                let read: Envelope<ReadBrief<'_>> = json(body)?;
                Ok(Brief {
                    code: code(&read.error.code)?,
                    retry_after: read.error.retry_after_ms.map(Duration::from_millis),
                    not_processed: read.error.not_processed.unwrap_or(false),
                })
            }
            CodecId::PROTOBUF => {
                let read: ProtoBrief = protobuf(body)?;
                Ok(Brief {
                    code: code(&read.code)?,
                    retry_after: set_millis(read.retry_after_ms),
                    not_processed: read.not_processed,
                })
            }
            other => Err(InvalidFault::Codec(other)),
        }
    }
}

impl From<&Fault> for Brief {
    fn from(fault: &Fault) -> Self {
        Brief { code: fault.code(), retry_after: fault.retry_after(), not_processed: fault.not_processed() }
    }
}

fn fault(
    code: ErrorCode,
    message: String,
    cause: Option<&str>,
    trace_id: Option<Box<str>>,
    chain: Vec<ErrorCode>,
) -> Fault {
    let mut fault = Fault::new(code, message).with_chain(chain);
    if let Some(Ok(cause)) = cause.map(ErrorCode::new) {
        fault = fault.with_cause(cause);
    }
    match trace_id {
        Some(trace_id) => fault.with_trace_id(trace_id),
        None => fault,
    }
}

fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, InvalidFault> {
    if body.len() > MAX_BODY {
        return Err(InvalidFault::TooLarge);
    }
    serde_json::from_slice(body).map_err(|error| InvalidFault::Body(error.to_string()))
}

fn protobuf<T: Message + Default>(body: &[u8]) -> Result<T, InvalidFault> {
    if body.len() > MAX_BODY {
        return Err(InvalidFault::TooLarge);
    }
    T::decode(body).map_err(|error| InvalidFault::Body(error.to_string()))
}

fn code(text: &str) -> Result<ErrorCode, InvalidFault> {
    ErrorCode::new(text).map_err(|_| InvalidFault::Code(text.chars().take(32).collect()))
}

/// Whole milliseconds, rounded up.
fn millis(after: Duration) -> u32 {
    u32::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

fn set_millis(ms: u32) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(u64::from(ms)))
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference
fn is_false(value: &bool) -> bool {
    !*value
}

impl fmt::Display for InvalidFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidFault::NotAFault => f.write_str("the answer is no fault"),
            InvalidFault::Codec(codec) => write!(f, "a fault travels as json or protobuf, not as {codec}"),
            InvalidFault::TooLarge => f.write_str("the fault is larger than 1 MiB"),
            InvalidFault::Body(why) => write!(f, "the body is no fault: {why}"),
            InvalidFault::Code(text) => write!(f, "the fault's code is no error code: {text:?}"),
        }
    }
}

impl std::error::Error for InvalidFault {}

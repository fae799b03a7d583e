//! The body of a call: from the command line, a file or stdin.

use crate::{args::Codec, exit::Failure};
use bytes::Bytes;
use serde::de::IgnoredAny;
use std::{
    fs,
    io::{Read, stdin},
};

/// Reads it, and checks it if it is JSON.
pub(crate) fn read(argument: Option<String>, codec: Codec) -> Result<Bytes, Failure> {
    let (body, from) = match argument {
        None => return Ok(Bytes::from_static(if codec == Codec::Json { b"null" } else { b"" })),
        Some(text) => match text.strip_prefix('@') {
            Some("") => return Err(Failure::Usage("there is no file name after the @".to_owned())),
            Some(path) => {
                let body = fs::read(path)
                    .map_err(|error| Failure::Usage(format!("{path} cannot be read: {error}")))?;
                (body, path.to_owned())
            }
            None if text == "-" => {
                let mut body = Vec::new();
                stdin()
                    .read_to_end(&mut body)
                    .map_err(|error| Failure::Usage(format!("stdin cannot be read: {error}")))?;
                (body, "stdin".to_owned())
            }
            None => (text.into_bytes(), "the body".to_owned()),
        },
    };
    if codec == Codec::Json
        && let Err(error) = serde_json::from_slice::<IgnoredAny>(&body)
    {
        return Err(Failure::Usage(format!(
            "{from} is no JSON: {error} (--codec raw sends bytes as they are)"
        )));
    }
    Ok(body.into())
}

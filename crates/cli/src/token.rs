//! A bearer token, from where others do not see it: a command line is shown by `ps` and kept by the shell.

use crate::{args::TokenArgs, exit::Failure};
use std::{env, fs};
use towpath::auth::Token;

/// Reads it, if one was asked for.
pub(crate) fn read(args: &TokenArgs, headers: &[(String, String)]) -> Result<Option<Token>, Failure> {
    let (text, from) = match (&args.token_env, &args.token_file) {
        (Some(name), _) => {
            let text = env::var(name).map_err(|_| {
                Failure::Usage(format!("the environment has no variable {name} that could be the token"))
            })?;
            (text, name.clone())
        }
        (None, Some(path)) => {
            let text = fs::read_to_string(path)
                .map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", path.display())))?;
            (text, path.display().to_string())
        }
        (None, None) => return Ok(None),
    };
    if headers.iter().any(|(key, _)| key == "authorization") {
        let why = "-H authorization and a token are two credentials, and only one would count: leave one out";
        return Err(Failure::Usage(why.to_owned()));
    }
    // Nothing of it is said.
    match Token::try_new(text.trim()) {
        Ok(token) => Ok(Some(token)),
        Err(why) => Err(Failure::Usage(format!("{from} holds no bearer token: {why}"))),
    }
}

//! What is wrong with a call before it is made, in more words than the parser of the command line has.

use crate::exit::Failure;
use std::collections::HashSet;
use towpath::Method;

/// The name would be echoed whole as a value that the parser refuses.
pub(crate) fn method(name: &str) -> Result<(), Failure> {
    if name.len() > Method::MAX_LEN {
        let (len, max) = (name.len(), Method::MAX_LEN);
        return Err(Failure::Usage(format!("a method's name has at most {max} bytes, this one has {len}")));
    }
    Ok(())
}

/// At the receiver the first of two entries wins: the other one would be lost without a word.
pub(crate) fn headers(entries: &[(String, String)]) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    match entries.iter().find(|(key, _)| !seen.insert(key)) {
        Some((key, _)) => {
            Err(Failure::Usage(format!("-H {key} is given twice, and only one would count: leave one out")))
        }
        None => Ok(()),
    }
}

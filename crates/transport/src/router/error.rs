//! What is wrong with a router's routes.

use std::{error::Error, fmt};

/// One thing that is wrong with a router's routes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRoute {
    /// A method is registered twice. Neither is taken: its calls are answered MCP-E-009.
    Duplicate(String),
    /// Two fallbacks for the same prefix (empty: the whole router). Neither is taken: what would fall back
    /// is answered MCP-E-009.
    DuplicateFallback(String),
    /// A method without a name, which nobody can call; it is left out.
    Empty,
    /// A method whose name is longer than the 65 535 bytes that can be sent; it is left out. The number is
    /// its length in bytes.
    TooLong(usize),
}

/// What is wrong with a router's routes: see [`Router::checked`](super::Router::checked).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRoutes(pub(super) Vec<InvalidRoute>);

impl InvalidRoutes {
    /// One by one; not empty.
    pub fn all(&self) -> &[InvalidRoute] {
        &self.0
    }
}

impl fmt::Display for InvalidRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidRoute::Duplicate(method) => write!(f, "{method} is registered twice"),
            InvalidRoute::DuplicateFallback(prefix) if prefix.is_empty() => {
                f.write_str("the router has two fallbacks")
            }
            InvalidRoute::DuplicateFallback(prefix) => write!(f, "{prefix} has two fallbacks"),
            InvalidRoute::Empty => f.write_str("a method has no name"),
            InvalidRoute::TooLong(len) => {
                write!(f, "a method's name has {len} bytes, and 65535 are the most that can be sent")
            }
        }
    }
}

impl fmt::Display for InvalidRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, one) in self.0.iter().enumerate() {
            write!(f, "{}{one}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl Error for InvalidRoute {}

impl Error for InvalidRoutes {}

//! A file that lists the endpoints, and is watched.

mod format;
mod source;

pub use format::InvalidList;
pub use source::FileSource;

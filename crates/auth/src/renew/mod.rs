//! Tokens that run out, and are fetched anew before they do.

mod config;
mod machine;
mod source;

pub use config::{InvalidRenewal, RenewConfig};
pub use machine::Issued;
pub use source::{RenewEvent, Renewing};

//! Names in the domain name system as a source of endpoints.

mod ask;
mod hickory;
mod pace;
mod source;
#[cfg(test)]
mod tests;
mod url;

pub use source::DnsSource;

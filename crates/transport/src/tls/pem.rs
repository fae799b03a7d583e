//! Certificates and keys, as they come in PEM.

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use std::{
    error::Error as StdError,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why certificates or keys are refused. It never shows a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTls(String);

impl InvalidTls {
    pub(super) fn new(why: impl Into<String>) -> Self {
        InvalidTls(why.into())
    }
}

impl fmt::Display for InvalidTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for InvalidTls {}

/// Where PEM comes from. Files are read again at a reload.
#[derive(Clone)]
pub(super) enum Source {
    File(PathBuf),
    Memory(Arc<[u8]>),
}

/// What is in memory may be a key.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Memory(_) => f.write_str("the PEM given in memory"),
        }
    }
}

impl Source {
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Source::File(path) => Some(path),
            Source::Memory(_) => None,
        }
    }

    fn read(&self, what: &str) -> Result<Vec<u8>, InvalidTls> {
        match self {
            Source::Memory(pem) => Ok(pem.to_vec()),
            Source::File(path) => fs::read(path).map_err(|error| {
                InvalidTls(format!("{what} cannot be read from {}: {error}", path.display()))
            }),
        }
    }

    /// All certificates, in their order.
    pub(super) fn certificates(&self, what: &str) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
        let pem = self.read(what)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let certificates = read.map_err(|error| self.broken(what, &error))?;
        if certificates.is_empty() {
            return Err(InvalidTls(format!("{what}: {self} holds no certificate in PEM")));
        }
        Ok(certificates)
    }

    pub(super) fn key(&self, what: &str) -> Result<PrivateKeyDer<'static>, InvalidTls> {
        let pem = self.read(what)?;
        match PrivateKeyDer::from_pem_slice(&pem) {
            Ok(key) => Ok(key),
            Err(pem::Error::NoItemsFound) => {
                let locked = pem.windows(9).any(|bytes| bytes == b"ENCRYPTED");
                let why = if locked { "the key in it is encrypted" } else { "there is no private key in it" };
                Err(InvalidTls(format!(
                    "{what}: {self} cannot be used, {why}; it should hold a PEM section PRIVATE KEY"
                )))
            }
            Err(error) => Err(self.broken(what, &error)),
        }
    }

    /// The library's words quote lines of the file, which may be those of a key.
    fn broken(&self, what: &str, error: &pem::Error) -> InvalidTls {
        let why = match error {
            pem::Error::MissingSectionEnd { .. } => "a section has no end",
            pem::Error::IllegalSectionStart { .. } => "a section does not begin as it should",
            pem::Error::Base64Decode(_) => "a section is not in base64",
            _ => "it cannot be read",
        };
        InvalidTls(format!("{what}: {self} is no PEM, {why}"))
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Source::File(path.to_owned())
    }
}

impl From<&[u8]> for Source {
    fn from(pem: &[u8]) -> Self {
        Source::Memory(pem.into())
    }
}

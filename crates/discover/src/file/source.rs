//! Looks at a file again and again.

use super::format::Format;
use crate::{InvalidTarget, Source, Target, Update};
use std::{
    fs::{self, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, sleep_until};
use towpath_core::{BoxError, Clock};

/// A file that is younger than this may be written again without looking any different: some file systems count whole
/// seconds.
const YOUNG: Duration = Duration::from_secs(2);

/// A file that lists the endpoints in TOML or JSON: `file:/etc/orders.toml`.
///
/// ```toml
/// [[endpoints]]
/// address = "mcp://10.0.0.7:8080"
/// weight = 3                       # 1 if left out
/// priority = 0
/// zone = "eu-1a"
/// labels = { version = "2.1" }
/// draining = false
/// ```
///
/// In JSON it is `{"endpoints": [{"address": "mcp://10.0.0.7:8080"}]}`.
///
/// It is looked at every second (`?every_ms=200` for another time): by size, time and identity of the file that the
/// path leads to at that moment, so that it is noticed however it is replaced: written over, renamed over, a
/// symbolic link of a mounted volume that points elsewhere. A file that is not there, or is broken, changes nothing; the
/// error says where it is broken.
#[derive(Debug)]
pub struct FileSource {
    path: Arc<Path>,
    format: Format,
    every: Duration,
    due: Option<Instant>,
    /// What the file looked like when it was read.
    seen: Option<Look>,
    /// What was wrong then. It is said once: to look again is not to ask again, and needs no backoff.
    complaint: Option<String>,
    /// The same of a file that was written a moment ago: perhaps it is being written.
    suspicion: Option<String>,
}

/// By which a file is told from another one, or from itself at another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    size: u64,
    modified: Option<SystemTime>,
    id: [u64; 2],
    changed: [i64; 2],
}

impl FileSource {
    /// The largest file: 16 MiB.
    pub const MAX_SIZE: u64 = 16 << 20;

    /// The file of a URL.
    ///
    /// # Errors
    /// If the path is not absolute, does not end in `.toml` or `.json`, or `every_ms` is not from 10 to 3 600 000.
    pub fn open(target: &Target<'_>) -> Result<Self, InvalidTarget> {
        target.only(&["every_ms"])?;
        let path = target.rest();
        if !path.starts_with('/') {
            return Err(target.refuse("the path of the file is not absolute"));
        }
        let Some(format) = Format::of(path) else {
            return Err(target.refuse("the name of the file ends neither in .toml nor in .json"));
        };
        let every = match target.option("every_ms").map(str::parse) {
            None => 1_000,
            Some(Ok(ms @ 10..=3_600_000)) => ms,
            Some(_) => return Err(target.refuse("every_ms is no number from 10 to 3600000")),
        };
        let (path, every) = (PathBuf::from(path).into(), Duration::from_millis(every));
        Ok(FileSource { path, format, every, due: None, seen: None, complaint: None, suspicion: None })
    }
}

impl Source for FileSource {
    fn about(&self) -> String {
        format!("file {}", self.path.display())
    }

    async fn next(&mut self) -> Result<Option<Update>, BoxError> {
        loop {
            if let Some(due) = self.due {
                sleep_until(due).await;
            }
            let (path, seen) = (self.path.clone(), self.seen);
            // Disks and network file systems take their time.
            let read = tokio::task::spawn_blocking(move || read(&path, seen)).await?;
            self.due = Some(Clock::now() + self.every);
            let refused = match read {
                Ok(None) => continue,
                Ok(Some((look, text))) => {
                    self.seen = look;
                    match self.format.read(&text) {
                        Ok(instances) => {
                            (self.complaint, self.suspicion) = (None, None);
                            return Ok(Some(Update::Full(instances)));
                        }
                        Err(error) => {
                            let (why, young) = (error.to_string(), self.seen.is_none());
                            if young && self.suspicion.as_ref() != Some(&why) {
                                self.suspicion = Some(why);
                                continue;
                            }
                            why
                        }
                    }
                }
                Err(error) => {
                    self.seen = None;
                    error.to_string()
                }
            };
            let refused = format!("{}: {refused}", self.path.display());
            if self.complaint.as_ref() != Some(&refused) {
                self.complaint = Some(refused.clone());
                return Err(refused.into());
            }
        }
    }

    fn refresh(&mut self) {
        (self.due, self.seen) = (None, None);
        (self.complaint, self.suspicion) = (None, None);
    }
}

/// The file, if it does not look as it did, and how it looks if it will look otherwise after the next change.
fn read(path: &Path, seen: Option<Look>) -> io::Result<Option<(Option<Look>, String)>> {
    let about = fs::metadata(path)?;
    if seen.is_some() && seen == Some(Look::at(&about)) {
        return Ok(None);
    }
    // To open something else, a pipe say, could take for ever.
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let file = fs::File::open(path)?;
    // Perhaps another one by now.
    let about = file.metadata()?;
    let mut text = String::new();
    file.take(FileSource::MAX_SIZE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FileSource::MAX_SIZE {
        let why = format!("it is larger than {} bytes", FileSource::MAX_SIZE);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    let look = Look::at(&about);
    let age = look.modified.and_then(|modified| modified.elapsed().ok());
    Ok(Some((age.is_some_and(|age| age >= YOUNG).then_some(look), text)))
}

impl Look {
    fn at(about: &Metadata) -> Self {
        #[cfg(unix)]
        let (id, changed) = {
            use std::os::unix::fs::MetadataExt;
            ([about.dev(), about.ino()], [about.ctime(), about.ctime_nsec()])
        };
        #[cfg(not(unix))]
        let (id, changed) = ([0; 2], [0; 2]);
        Look { size: about.len(), modified: about.modified().ok(), id, changed }
    }
}

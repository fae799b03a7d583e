//! How keys are shared out: a validated value.

use super::KeyFrom;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a [`HashConfig`] is made of, unchecked: change what is to differ, and check the whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HashOptions {
    /// Where the key of a call is: the first that there is. Default: its affinity key only.
    pub keys: Vec<KeyFrom>,
    /// How many slots the table has: a prime from 251 to 8 388 593. All who are to agree need the same. Default: 65 537
    /// (Envoy's Maglev), with which of 20 endpoints each has its share to 3 %, of 100 to 10 %, of 1 000 to a third. Each takes
    /// 12 bytes.
    pub slots: u32,
    /// An endpoint that has more than this many times its share of the calls under way is full, and passed over: 1 to
    /// 100. Picks at the same moment do not see each other, so that it may have one call more for each other thread that
    /// picks. `None`, the default: none is ever full, and a key that is asked for too often overloads its endpoint. (Off in
    /// HAProxy and Envoy too, and 1.25 to 2 in use: Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded
    /// Loads", 2016.)
    pub load_bound: Option<f64>,
    /// With fewer calls under way than this none is full, whatever its share. Default: 4.
    pub load_floor: u32,
}

/// How keys are shared out.
///
/// Its fields are those of [`HashOptions`], checked. What is left out of a file has its default:
///
/// ```
/// use towpath_balance::HashConfig;
/// let config: HashConfig = serde_json::from_str(r#"{"keys": ["affinity-key", "session-id"], "load_bound": 1.5}"#)?;
/// assert_eq!((config.slots, config.load_bound), (65_537, Some(1.5)));
/// let refused = serde_json::from_str::<HashConfig>(r#"{"slots": 65536}"#).unwrap_err();
/// assert!(refused.to_string().starts_with("slots: 65536 is not a prime"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "HashOptions", into = "HashOptions")]
pub struct HashConfig(HashOptions);

/// A config that makes no sense: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidHash {
    field: &'static str,
    reason: String,
}

const SLOTS: std::ops::RangeInclusive<u32> = 251..=8_388_593;

impl HashConfig {
    /// Checks a config.
    ///
    /// # Errors
    /// If a field is out of the range that is said there, or there is no key at all.
    pub fn try_new(options: HashOptions) -> Result<Self, InvalidHash> {
        let refuse = |field, reason| Err(InvalidHash { field, reason });
        let slots = options.slots;
        if options.keys.is_empty() {
            return refuse("keys", "there is none: no call would have a key".into());
        }
        if !SLOTS.contains(&slots) {
            return refuse("slots", format!("{slots} is not from {} to {}", SLOTS.start(), SLOTS.end()));
        }
        if (2..).take_while(|divisor| divisor * divisor <= slots).any(|divisor| slots.is_multiple_of(divisor))
        {
            return refuse("slots", format!("{slots} is not a prime"));
        }
        match options.load_bound {
            Some(bound) if !(1.0..=100.0).contains(&bound) => {
                refuse("load_bound", format!("{bound} is not from 1 to 100"))
            }
            _ => Ok(HashConfig(options)),
        }
    }

    /// The fields, to make another config of them.
    pub fn options(&self) -> HashOptions {
        self.0.clone()
    }
}

impl std::ops::Deref for HashConfig {
    type Target = HashOptions;

    fn deref(&self) -> &HashOptions {
        &self.0
    }
}

impl Default for HashOptions {
    fn default() -> Self {
        HashOptions { keys: vec![KeyFrom::AffinityKey], slots: 65_537, load_bound: None, load_floor: 4 }
    }
}

/// As [`HashOptions`].
impl Default for HashConfig {
    fn default() -> Self {
        HashConfig(HashOptions::default())
    }
}

impl TryFrom<HashOptions> for HashConfig {
    type Error = InvalidHash;

    fn try_from(options: HashOptions) -> Result<Self, InvalidHash> {
        HashConfig::try_new(options)
    }
}

impl From<HashConfig> for HashOptions {
    fn from(config: HashConfig) -> Self {
        config.0
    }
}

impl InvalidHash {
    /// The name of the field, as in a file.
    pub fn field(&self) -> &str {
        self.field
    }
}

impl fmt::Display for InvalidHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for InvalidHash {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges() {
        type Spoil = fn(&mut HashOptions);
        let bad: [(&str, Spoil); 6] = [
            ("keys", |o| o.keys.clear()),
            ("slots", |o| o.slots = 241),
            ("slots", |o| o.slots = 8_388_617),
            ("slots", |o| o.slots = 65_535),
            ("load_bound", |o| o.load_bound = Some(0.99)),
            ("load_bound", |o| o.load_bound = Some(f64::NAN)),
        ];
        for (field, spoil) in bad {
            let mut options = HashOptions::default();
            spoil(&mut options);
            assert_eq!(HashConfig::try_new(options).unwrap_err().field(), field);
        }
        for slots in [251, 4_093, 1_048_573, 8_388_593] {
            assert!(HashConfig::try_new(HashOptions { slots, ..HashOptions::default() }).is_ok(), "{slots}");
        }
    }

    #[test]
    fn the_form_in_a_file() {
        let text = serde_json::to_string(&HashConfig::default()).unwrap();
        assert_eq!(serde_json::from_str::<HashConfig>(&text).unwrap(), HashConfig::default());
        assert_eq!(serde_json::from_str::<HashConfig>("{}").unwrap(), HashConfig::default());
        let refused = |text| serde_json::from_str::<HashConfig>(text).unwrap_err().to_string();
        assert!(refused(r#"{"ring":1}"#).contains("unknown field"));
        assert!(refused(r#"{"keys":["session"]}"#).contains("unknown variant"));
    }
}

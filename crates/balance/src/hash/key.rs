//! Which calls belong together.

use crate::pick::View;
use serde::{Deserialize, Serialize};
use towpath_core::context::Field;

/// Where the key of a call is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KeyFrom {
    /// In the context's affinity key. What is called further down does not inherit it.
    AffinityKey,
    /// In the context's session, which calls further down belong to too.
    SessionId,
}

impl KeyFrom {
    /// All of them.
    pub(crate) const ALL: [KeyFrom; 2] = [KeyFrom::AffinityKey, KeyFrom::SessionId];

    fn of<'a>(self, view: &View<'a>) -> Option<&'a [u8]> {
        let field = match self {
            KeyFrom::AffinityKey => Field::AffinityKey,
            KeyFrom::SessionId => Field::SessionId,
        };
        view.context()?.field(field).map(|key| &key[..])
    }
}

/// The key of a call: the first that there is.
#[inline]
pub(crate) fn key<'a>(from: &[KeyFrom], view: &View<'a>) -> Option<&'a [u8]> {
    if !view.context()?.has_fields() {
        return None;
    }
    from.iter().find_map(|from| from.of(view))
}

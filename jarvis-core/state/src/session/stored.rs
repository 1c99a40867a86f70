//! Serialization of the parts of a [`Record`](super::record::Record).

use super::front::damaged;
use super::record::Kept;
use super::seal::SEALED;
use super::{SessionData, SessionMeta};
use base::Result;

impl Kept<SessionData> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(data) => data.as_str().as_bytes(),
            Self::Sealed(sealed) => sealed,
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        match bytes {
            [SEALED, ..] => Ok(Self::Sealed(bytes.into())),
            _ => {
                let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
                Ok(Self::Plain(SessionData::trusted(text.into())))
            }
        }
    }
}

impl Kept<SessionMeta> {
    /// Nothing when nothing is known.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        match self {
            Self::Plain(meta) if *meta == SessionMeta::default() => Ok(Vec::new()),
            Self::Plain(meta) => serde_json::to_vec(meta).map_err(|_| damaged()),
            Self::Sealed(sealed) => Ok(sealed.to_vec()),
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        match bytes {
            [] => Ok(Self::Plain(SessionMeta::default())),
            [SEALED, ..] => Ok(Self::Sealed(bytes.into())),
            _ => serde_json::from_slice(bytes).map(Self::Plain).map_err(|_| damaged()),
        }
    }
}

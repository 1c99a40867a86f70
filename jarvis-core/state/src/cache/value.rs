//! [`CacheValue`]: bytes, cheap to clone.

use std::fmt;
use std::ops::Deref;

use serde::Serialize;
use serde::de::DeserializeOwned;

use base::{Error, ErrorKind, Result};

/// What a cache holds: bytes that it does not look at. Clones share them.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct CacheValue(bytes::Bytes);

impl CacheValue {
    /// The bytes from there on, without copying them.
    #[cfg(feature = "redis")]
    pub(super) fn tail(bytes: Vec<u8>, at: usize) -> Self {
        let mut bytes = bytes::Bytes::from(bytes);
        Self(bytes.split_off(at.min(bytes.len())))
    }

    /// As JSON.
    ///
    /// # Errors
    /// `InvalidInput` when it has no form in JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        serde_json::to_vec(value).map(Self::from).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, "failed to serialize a value for the cache as JSON")
                .with_source(error)
        })
    }

    /// From JSON.
    ///
    /// # Errors
    /// `Corrupt` when it is something else: another version of the program may have stored it.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.0).map_err(|error| {
            Error::new(
                ErrorKind::Corrupt,
                "a cached value does not match the expected type; delete it, or use a new key",
            )
            .with_source(error)
        })
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// As text, where it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl Deref for CacheValue {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for CacheValue {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for CacheValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<String> for CacheValue {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for CacheValue {
    fn from(text: &str) -> Self {
        Self(bytes::Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<&[u8]> for CacheValue {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes::Bytes::copy_from_slice(bytes))
    }
}

/// Says how long it is, not what is in it.
impl fmt::Debug for CacheValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheValue({} bytes)", self.0.len())
    }
}

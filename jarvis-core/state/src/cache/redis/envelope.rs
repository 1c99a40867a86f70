//! What lies under a key in Redis: a bare number, or an envelope around the bytes.
//!
//! ```text
//! CA 01 | id: 8 bytes | load: 4 bytes, ms | stale: 8 bytes, ms | tags: 1 byte | tag … | value
//! tag: length: 1 byte | name | version: 8 bytes          numbers are big-endian
//! ```
//!
//! How long an entry lives is Redis' to know (`PTTL`), so that no two machines' clocks have to
//! agree: it is fresh until `stale` before its end. A value that is a whole number and has nothing
//! else to remember is stored bare, as `INCRBY` wants it.

use std::time::Duration;

use crate::cache::CacheValue;
use crate::cache::storage::{Age, WriteId, whole_number};
use base::{Error, ErrorKind, Result};

const MAGIC: [u8; 2] = [0xCA, 1];
/// No header is longer: 23 bytes, and 4 tags of at most 128 bytes with length and version.
pub(super) const MAX_HEADER: usize = 23 + 4 * (1 + 128 + 8);

/// The version of a tag. Drawn at random when there is none, so that a version that was lost, or a
/// server whose clock went back, never brings an old entry back.
pub(super) type TagVersion = [u8; 8];

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) id: WriteId,
    pub(super) load_took: Duration,
    pub(super) stale: Duration,
    pub(super) tags: Vec<(String, TagVersion)>,
    pub(super) value: CacheValue,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Milliseconds for `PX`: never nothing.
pub(super) fn px(duration: Duration) -> u64 {
    millis(duration).max(1)
}

impl Stored {
    /// A bare number where that says it all.
    pub(super) fn encode(&self) -> Vec<u8> {
        let bare = self.tags.is_empty() && self.stale.is_zero() && self.load_took.is_zero();
        if bare && whole_number(&self.value).is_some() {
            return self.value.to_vec();
        }
        let mut bytes = Vec::with_capacity(64 + self.value.len());
        bytes.extend(MAGIC);
        let id = match self.id {
            WriteId::Drawn(id) => id,
            WriteId::Number(number) => number.cast_unsigned(),
        };
        bytes.extend(id.to_be_bytes());
        bytes.extend(u32::try_from(millis(self.load_took)).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(millis(self.stale).to_be_bytes());
        bytes.push(u8::try_from(self.tags.len()).unwrap_or(u8::MAX));
        for (name, version) in &self.tags {
            bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            bytes.extend(name.as_bytes());
            bytes.extend(version);
        }
        bytes.extend(self.value.as_slice());
        bytes
    }

    /// `None` of nothing. Of a header alone the value is empty.
    pub(super) fn decode(bytes: Vec<u8>) -> Result<Option<Self>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        if let Some(number) = whole_number(&bytes) {
            return Ok(Some(Self {
                id: WriteId::Number(number),
                load_took: Duration::ZERO,
                stale: Duration::ZERO,
                tags: Vec::new(),
                value: bytes.into(),
            }));
        }
        let mut rest = bytes.as_slice();
        let header = Self::header(&mut rest).ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                "a key of the cache holds a value that this version of the cache did not write; delete it, or use another namespace",
            )
        })?;
        let at = bytes.len() - rest.len();
        Ok(Some(Self { value: CacheValue::tail(bytes, at), ..header }))
    }

    fn header(rest: &mut &[u8]) -> Option<Self> {
        if take::<2>(rest)? != MAGIC {
            return None;
        }
        let id = WriteId::Drawn(u64::from_be_bytes(take(rest)?));
        let load_took = Duration::from_millis(u32::from_be_bytes(take(rest)?).into());
        let stale = Duration::from_millis(u64::from_be_bytes(take(rest)?));
        let [count] = take(rest)?;
        let mut tags = Vec::with_capacity(count.into());
        for _ in 0..count {
            let [length] = take(rest)?;
            let (name, after) = rest.split_at_checked(length.into())?;
            *rest = after;
            let name = std::str::from_utf8(name).ok()?.to_owned();
            tags.push((name, take(rest)?));
        }
        Some(Self { id, load_took, stale, tags, value: CacheValue::default() })
    }

    /// What tells this writing from the next, as it lies at the start of the bytes. A bare number
    /// is all of them.
    pub(super) fn identity(&self) -> Vec<u8> {
        match self.id {
            WriteId::Drawn(id) => [&MAGIC[..], &id.to_be_bytes()].concat(),
            WriteId::Number(number) => number.to_string().into_bytes(),
        }
    }

    /// Where it is in its life, from what `PTTL` says.
    pub(super) fn age(&self, pttl: i64) -> Option<Age> {
        match pttl {
            -1 => Some(Age::Fresh(None)),
            ..0 => None,
            left => {
                let left = Duration::from_millis(left.unsigned_abs());
                Some(match left.checked_sub(self.stale) {
                    Some(fresh) if !fresh.is_zero() || self.stale.is_zero() => {
                        Age::Fresh(Some(fresh))
                    }
                    _ => Age::Stale(self.stale.saturating_sub(left)),
                })
            }
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(value: Vec<u8>, tags: Vec<(String, TagVersion)>) -> Stored {
        Stored {
            id: WriteId::Drawn(7),
            load_took: Duration::from_millis(20),
            stale: Duration::from_secs(60),
            tags,
            value: value.into(),
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            value: Vec<u8>,
            tags in prop::collection::vec((".{1,32}", any::<TagVersion>()), 0..=4),
        ) {
            let stored = stored(value, tags);
            let bytes = stored.encode();
            prop_assert_eq!(&bytes[..10], stored.identity());
            let header = bytes.len() - stored.value.len();
            prop_assert!(header <= MAX_HEADER);
            prop_assert_eq!(Stored::decode(bytes).unwrap(), Some(stored));
        }

        #[test]
        fn nothing_that_lies_there_is_a_panic(bytes: Vec<u8>) {
            let framed = [&MAGIC[..], &bytes].concat();
            let _ = (Stored::decode(bytes), Stored::decode(framed));
        }
    }

    #[test]
    fn numbers_are_bare_unless_there_is_more_to_remember() {
        let number = Stored {
            load_took: Duration::ZERO,
            stale: Duration::ZERO,
            ..stored(b"-12".to_vec(), Vec::new())
        };
        assert_eq!(number.encode(), b"-12");
        let tagged = Stored { tags: vec![("t".to_owned(), [1; 8])], ..number.clone() };
        assert_eq!(tagged.encode()[..2], MAGIC);
        let text = Stored { value: b"-0".to_vec().into(), ..number };
        assert_eq!(text.encode()[..2], MAGIC);
        let read = Stored::decode(b"-12".to_vec()).unwrap().unwrap();
        assert_eq!((read.id, read.identity()), (WriteId::Number(-12), b"-12".to_vec()));
    }

    #[test]
    fn the_age_is_what_redis_says_less_the_stale_time() {
        let stored = stored(Vec::new(), Vec::new());
        assert_eq!(stored.age(61_000), Some(Age::Fresh(Some(Duration::from_secs(1)))));
        assert_eq!(stored.age(60_000), Some(Age::Stale(Duration::ZERO)));
        assert_eq!(stored.age(50_000), Some(Age::Stale(Duration::from_secs(10))));
        assert_eq!((stored.age(-1), stored.age(-2)), (Some(Age::Fresh(None)), None));
        assert_eq!((px(Duration::ZERO), px(Duration::from_micros(1_001))), (1, 2));
    }

    #[test]
    fn what_something_else_stored_is_corrupt() {
        for bytes in [b"hello".to_vec(), vec![0xCA], vec![0xCA, 2, 0], vec![0xCA, 1, 0]] {
            assert_eq!(Stored::decode(bytes).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}

//! Ids: [`SessionId`] is the visitor's secret, [`SessionHandle`] names a session without it.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use base::vocabulary::UserId;
use base::{Error, ErrorKind, Result};

/// Bytes from the operating system in an id of ours: 192 bits.
const RANDOM_BYTES: usize = 24;
/// What those are in base64url.
const RANDOM_CHARS: usize = 32;
/// How many groups of cluster slots there are.
const BUCKETS: u16 = 1 << 10;
/// base64url's digits, of which two write a bucket.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// The longest id that is accepted.
const LONGEST: usize = 128;

/// Which of 1,024 groups of keys something belongs to. What shares a bucket shares a slot of a
/// Redis Cluster, and so can be changed by one script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bucket(u16);

impl Bucket {
    /// From the first ten bits of a hash.
    fn of_hash(hash: &[u8]) -> Self {
        Self(u16::from_be_bytes([hash[0], hash[1]]) >> 6)
    }

    /// Of a user: ten bits of a hash, so that all instances agree and nothing can be told from it.
    pub(crate) fn of_user(user: &UserId) -> Self {
        let mut hash = Sha256::new_with_prefix(b"jarvis session bucket\0");
        hash.update(user.as_str());
        Self::of_hash(&hash.finalize())
    }

    pub(super) fn number(self) -> usize {
        usize::from(self.0)
    }

    fn digits(self) -> [char; 2] {
        [self.0 >> 6, self.0 & 63].map(|digit| char::from(DIGITS[usize::from(digit)]))
    }

    fn random() -> Result<Self> {
        let mut bytes = [0; 2];
        fill(&mut bytes)?;
        Ok(Self::of_hash(&bytes))
    }

    fn read(text: &[u8]) -> Option<Self> {
        let [first, second] = text else { return None };
        let number = value(*first)? << 6 | value(*second)?;
        (number < BUCKETS).then_some(Self(number))
    }
}

/// Two characters of base64url.
impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digits().into_iter().try_for_each(|digit| f.write_char(digit))
    }
}

/// What a digit of base64url stands for.
const fn value(digit: u8) -> Option<u16> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    } as u16)
}

pub(super) fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| {
        Error::new(ErrorKind::Exhausted, "the operating system provided no random numbers")
            .with_source(error)
    })
}

/// What the visitor's cookie holds. Who has it *is* the visitor: it is shown in full only by
/// [`expose`](Self::expose), and its `Debug` is the start of its hash.
///
/// Ours are 34 characters of base64url: two that name a bucket of keys, and 192 random bits. They
/// begin with a letter, so that no command line takes one for an option. Ids that a web framework
/// made are taken as they are, 1 to 128 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// A fresh one from the operating system, in its user's bucket where there is a user.
    ///
    /// # Errors
    /// `Exhausted` when the operating system provided no random numbers.
    pub fn generate(user: Option<&UserId>) -> Result<Self> {
        Self::generate_in(user.map_or_else(Bucket::random, |user| Ok(Bucket::of_user(user)))?)
    }

    /// A fresh one for the same session: in its user's bucket, else where it was, so that it can be
    /// moved in one step.
    pub(super) fn generate_for(&self, user: Option<&UserId>) -> Result<Self> {
        Self::generate_in(user.map_or_else(|| self.bucket(), Bucket::of_user))
    }

    fn generate_in(bucket: Bucket) -> Result<Self> {
        let mut random = [0; RANDOM_BYTES];
        fill(&mut random)?;
        Ok(Self(format!("{bucket}{}", URL_SAFE_NO_PAD.encode(random)).into()))
    }

    /// From its text: what a cookie said.
    ///
    /// # Errors
    /// `InvalidInput` unless it has 1 to 128 bytes, none of them a control character. The message
    /// does not repeat it.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        // Nearly all are ASCII, where looking at bytes does.
        let plain = || text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let fits = (1..=LONGEST).contains(&text.len());
        if !fits || (!plain() && text.chars().any(char::is_control)) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("a session id has 1 to {LONGEST} bytes without control characters"),
            ));
        }
        Ok(Self(text.into()))
    }

    /// The id itself, for the visitor's cookie and nobody else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The bucket at the start of an id of ours, else that of its hash.
    pub(crate) fn bucket(&self) -> Bucket {
        self.own_bucket().unwrap_or_else(|| Bucket::of_hash(&self.hash()))
    }

    fn own_bucket(&self) -> Option<Bucket> {
        let bytes = self.0.as_bytes();
        let ours =
            bytes.len() == RANDOM_CHARS + 2 && bytes.iter().all(|byte| value(*byte).is_some());
        ours.then(|| Bucket::read(&bytes[..2])).flatten()
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The name under which storage keeps it: the bucket and, as the policy says, its hash or
    /// the id itself.
    #[must_use]
    pub fn handle(&self, hash_ids: bool) -> SessionHandle {
        let hash = self.hash();
        let bucket = self.own_bucket().unwrap_or_else(|| Bucket::of_hash(&hash));
        let mut name = String::with_capacity(2 + LONGEST);
        name.extend(bucket.digits());
        match hash_ids {
            true => URL_SAFE_NO_PAD.encode_string(hash, &mut name),
            false => name.push_str(&self.0),
        }
        SessionHandle(name.into())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId(#{})", &URL_SAFE_NO_PAD.encode(self.hash())[..6])
    }
}

/// In full: what is serialised goes to the visitor's own process.
impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(text).map_err(serde::de::Error::custom)
    }
}

/// Names a session to those who may end it but must not become it: an operator, the user's own
/// list of devices. It is what storage files the session under.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SessionHandle(Arc<str>);

impl SessionHandle {
    /// From its text: what a listing gave.
    ///
    /// # Errors
    /// `InvalidInput` when no listing can have given it.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        let bucket = text.get(..2).and_then(|start| Bucket::read(start.as_bytes()));
        let rest = text.get(2..).unwrap_or_default();
        if bucket.is_none() || SessionId::new(rest).is_err() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "not a session handle; `list` returns the valid ones",
            ));
        }
        Ok(Self(text.into()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn bucket(&self) -> Bucket {
        Bucket::read(&self.0.as_bytes()[..2]).unwrap_or(Bucket(0))
    }

    /// The bucket as it is written.
    #[cfg(feature = "redis")]
    pub(crate) fn bucket_text(&self) -> &str {
        &self.0[..2]
    }

    /// What follows the bucket: a hash, or the id where ids are not hashed.
    pub(crate) fn name(&self) -> &str {
        &self.0[2..]
    }
}

impl fmt::Display for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Its start: without hashing it would hold the id.
impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = Sha256::digest(self.0.as_bytes());
        write!(f, "SessionHandle(#{})", &URL_SAFE_NO_PAD.encode(hash)[..6])
    }
}

impl<'de> Deserialize<'de> for SessionHandle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(text).map_err(serde::de::Error::custom)
    }
}

/// A session by its id or by its handle.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SessionRef {
    /// By what the visitor has.
    Id(SessionId),
    /// By what a listing gave.
    Handle(SessionHandle),
}

impl From<SessionId> for SessionRef {
    fn from(id: SessionId) -> Self {
        Self::Id(id)
    }
}

impl From<SessionHandle> for SessionRef {
    fn from(handle: SessionHandle) -> Self {
        Self::Handle(handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_user_share_the_users_bucket_and_nothing_else() {
        let user = UserId::new("ada").unwrap();
        let (one, two) =
            (SessionId::generate(Some(&user)).unwrap(), SessionId::generate(Some(&user)).unwrap());
        assert_ne!(one, two);
        assert_eq!(one.expose().len(), 34);
        assert_eq!(one.bucket(), Bucket::of_user(&user));
        assert!(one.expose().starts_with(|first: char| first.is_ascii_uppercase()));
        assert_eq!(one.handle(true).bucket(), two.handle(true).bucket());
        assert_eq!(SessionHandle::new(one.handle(true).as_str()).unwrap(), one.handle(true));
    }

    #[test]
    fn every_bucket_is_read_as_it_is_written() {
        for number in 0..BUCKETS {
            assert_eq!(Bucket::read(Bucket(number).to_string().as_bytes()), Some(Bucket(number)));
        }
        for text in ["", "A", "AAA", "Q!", "QA"] {
            assert_eq!(Bucket::read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn an_id_from_elsewhere_is_taken_and_never_shown() {
        let id = SessionId::new("s:gZ4 ü").unwrap();
        assert_eq!(id.handle(true).bucket(), id.bucket());
        assert!(!id.handle(true).as_str().contains("gZ4"));
        assert!(!format!("{id:?} {:?}", id.handle(false)).contains("gZ4"));
        for text in ["", "a\nb", &"x".repeat(129)] {
            let error = SessionId::new(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
}

//! [`Seal`]: encryption at rest.
//!
//! A sealed part is `1 ‖ key id ‖ nonce (24) ‖ ciphertext ‖ tag (16)` by XChaCha20-Poly1305
//! ([draft-irtf-cfrg-xchacha]), with the session's handle, its user and the part's name as
//! associated data: a sealed part that was copied to another session, or given to another user,
//! does not open. JSON never starts with a byte 1, so sealed and plain parts can be distinguished, and
//! sessions from before the first key are still read; the next save seals them.
//!
//! [draft-irtf-cfrg-xchacha]: https://datatracker.ietf.org/doc/html/draft-irtf-cfrg-xchacha

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

use super::SessionHandle;
use base::secret::Secret;
use base::vocabulary::UserId;
use base::{Error, ErrorKind, Result};

/// The first byte of what is sealed.
pub(super) const SEALED: u8 = 1;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// A key with the byte that names it: the first of a hash of it, so that all instances agree.
#[derive(Clone)]
struct Key {
    id: u8,
    cipher: XChaCha20Poly1305,
}

/// Seals with the first key and opens with any.
#[derive(Clone)]
pub(super) struct Seal(Vec<Key>);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({} keys)", self.0.len())
    }
}

/// What a sealed part belongs to.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) handle: &'a SessionHandle,
    pub(super) user: Option<&'a UserId>,
    pub(super) part: &'static str,
}

impl Place<'_> {
    /// None of the three has a control character in it, so that this is unambiguous.
    fn bytes(self) -> Vec<u8> {
        let user = self.user.map_or("", UserId::as_str);
        [self.part, self.handle.as_str(), user].join("\0").into_bytes()
    }
}

impl Seal {
    /// From the keys of a policy; `None` without any.
    pub(super) fn new(keys: &[Secret<String>]) -> Result<Option<Self>> {
        let keys = keys.iter().enumerate().map(|(at, key)| read(at, key)).collect::<Result<_>>()?;
        Ok(Some(Self(keys)).filter(|seal| !seal.0.is_empty()))
    }

    pub(super) fn seal(&self, plain: &[u8], place: Place<'_>) -> Result<Arc<[u8]>> {
        let mut nonce = [0; NONCE_BYTES];
        super::id::fill(&mut nonce)?;
        let Some(key) = self.0.first() else { return Err(broken()) };
        let payload = Payload { msg: plain, aad: &place.bytes() };
        let sealed = key.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| broken())?;
        let mut bytes = Vec::with_capacity(2 + NONCE_BYTES + sealed.len());
        bytes.extend([SEALED, key.id]);
        bytes.extend(nonce);
        bytes.extend(sealed);
        Ok(bytes.into())
    }

    pub(super) fn open(&self, sealed: &[u8], place: Place<'_>) -> Result<Vec<u8>> {
        let [SEALED, id, rest @ ..] = sealed else { return Err(damaged()) };
        let Some((nonce, sealed)) = rest.split_first_chunk::<NONCE_BYTES>() else {
            return Err(damaged());
        };
        let mut named = self.0.iter().filter(|key| key.id == *id).peekable();
        if named.peek().is_none() {
            return Err(no_key());
        }
        let aad = place.bytes();
        let open = |key: &Key| {
            key.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &aad }).ok()
        };
        named.find_map(open).ok_or_else(damaged)
    }
}

/// What is read although no key is configured at all.
pub(super) fn no_key() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "a session is encrypted with a key that is not among encryption_keys; add the key that was removed",
    )
}

fn damaged() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "an encrypted session does not open: it was changed or moved in storage, or its key has the same first byte of hash as another; delete it",
    )
}

fn broken() -> Error {
    Error::new(ErrorKind::Internal, "a session could not be encrypted; nothing was stored")
}

fn read(at: usize, key: &Secret<String>) -> Result<Key> {
    let bytes = decode(key.expose().trim()).ok_or_else(|| {
        Error::new(
            ErrorKind::ConfigInvalid,
            format!(
                "encryption_keys[{at}] is not a key: expected {KEY_BYTES} bytes as base64 or hex, such as `openssl rand -base64 {KEY_BYTES}` prints"
            ),
        )
    })?;
    let mut hash = Sha256::new_with_prefix(b"jarvis session key\0");
    hash.update(bytes);
    Ok(Key { id: hash.finalize()[0], cipher: XChaCha20Poly1305::new(&bytes.into()) })
}

fn decode(text: &str) -> Option<[u8; KEY_BYTES]> {
    if text.len() == 2 * KEY_BYTES {
        return decode_hex(text);
    }
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet =
        if text.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    GeneralPurpose::new(alphabet, lenient).decode(text).ok()?.try_into().ok()
}

fn decode_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    let mut bytes = [0; KEY_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(pair[0] << 4 | pair[1]).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn key(fill: &str) -> Secret<String> {
        Secret::new(fill.repeat(64))
    }

    fn seal(keys: &[Secret<String>]) -> Seal {
        Seal::new(keys).unwrap().unwrap()
    }

    fn handle(text: &str) -> SessionHandle {
        SessionHandle::new(text).unwrap()
    }

    fn place(handle: &SessionHandle) -> Place<'_> {
        Place { handle, user: None, part: "data" }
    }

    #[test]
    fn keys_are_read_as_hex_and_as_base64() {
        let handle = handle("AAx");
        let sealed = seal(&[Secret::new(HEX.into())]).seal(b"{}", place(&handle)).unwrap();
        for form in [BASE64, BASE64.trim_end_matches('=')] {
            let same = seal(&[Secret::new(format!(" {form}\n"))]);
            assert_eq!(same.open(&sealed, place(&handle)).unwrap(), b"{}");
        }
        for bad in ["", "abc", &HEX[2..], &HEX.replace('0', "g"), "not base64 at all !"] {
            let error = Seal::new(&[Secret::new(HEX.into()), Secret::new(bad.into())]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
            assert!(error.message().starts_with("encryption_keys[1] is not a key"), "{error}");
            assert!(bad.is_empty() || !error.message().contains(bad), "{error}");
        }
        assert!(Seal::new(&[]).unwrap().is_none());
    }

    #[test]
    fn an_old_key_opens_until_it_is_taken_out() {
        let handle = handle("AAx");
        let sealed = seal(&[key("a")]).seal(b"{\"a\":1}", place(&handle)).unwrap();
        let rotated = seal(&[key("b"), key("a")]);
        assert_eq!(rotated.open(&sealed, place(&handle)).unwrap(), b"{\"a\":1}");
        let sealed_anew = rotated.seal(b"{}", place(&handle)).unwrap();
        assert_eq!(seal(&[key("b")]).open(&sealed_anew, place(&handle)).unwrap(), b"{}");
        let error = seal(&[key("b")]).open(&sealed, place(&handle)).unwrap_err();
        assert!(error.message().contains("add the key"), "{error}");
    }

    #[test]
    fn what_was_changed_moved_or_given_away_does_not_open() {
        let (mine, other) = (handle("AAx"), handle("AAy"));
        let seal = seal(&[key("a")]);
        let sealed = seal.seal(b"{}", place(&mine)).unwrap();
        let user = UserId::new("eve").unwrap();
        for elsewhere in [
            place(&other),
            Place { user: Some(&user), ..place(&mine) },
            Place { part: "meta", ..place(&mine) },
        ] {
            let error = seal.open(&sealed, elsewhere).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert!(seal.open(&changed, place(&mine)).is_err(), "byte {at}");
            assert!(seal.open(&sealed[..at], place(&mine)).is_err(), "cut at {at}");
        }
        assert_ne!(sealed, seal.seal(b"{}", place(&mine)).unwrap(), "nonces differ");
    }
}

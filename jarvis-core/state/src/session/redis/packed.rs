//! How a session lies in Redis: as one string, so that a load is one `GET` and a save one `SET`.
//!
//! | from | bytes | |
//! |---|---|---|
//! | 0 | 2 | `s1` |
//! | 2 | 32 | names the save that wrote it, so that one whose answer was lost can be repeated |
//! | 34 | 16 | when it expires |
//! | 50 | 16 | until when it is kept: the key, and the handle in the index of its user |
//! | 66 | 16 | when it was written |
//! | 82 | 16 | when it was created |
//! | 98 | 16 | its time to live |
//! | 114 | 10 | length of the meta |
//! | 124 | 16 | version |
//! | 140 | 4 | length of the user |
//! | 144 | – | the user, the meta, the data |
//!
//! Numbers are decimal and padded with zeros to their width, so that scripts cut them out by their
//! place; times and lengths of time are milliseconds, times by our clocks. Version and user are what a
//! save compares ([`belief`]), and so in one piece.
//!
//! A session that was removed, or moved to another id, leaves `m1` and the name of that act for a few
//! seconds: for as long as it may be repeated because its answer was lost.

use std::time::Duration;

use super::super::front::damaged;
use super::super::record::{Draft, Kept, Listed, Record, Stored};
use super::super::{SessionData, SessionHandle, SessionMeta};
use base::Result;
use base::clock::WallTime;
use base::vocabulary::UserId;

const SESSION: &[u8] = b"s1";
const MOVED: &[u8] = b"m1";

/// Where things begin.
mod at {
    pub(super) const SAVE: usize = 2;
    pub(super) const EXPIRES: usize = 34;
    pub(super) const WRITTEN: usize = 66;
    pub(super) const CREATED: usize = 82;
    pub(super) const TTL: usize = 98;
    pub(super) const META_LENGTH: usize = 114;
    pub(super) const VERSION: usize = 124;
    pub(super) const USER_LENGTH: usize = 140;
    pub(super) const USER: usize = 144;
}

/// How long times and the version are.
const NUMBER: usize = 16;

/// How many parts of its time to live a session may live before the expiry of its key and its user's
/// index are written again. They say so much more than is true.
const SLACK: i64 = 8;

/// Names a save, or a move.
pub(super) type SaveName = [u8; at::EXPIRES - at::SAVE];

/// A number in so many characters. One that is longer becomes the longest: no time and no version
/// is.
pub(super) fn digits<const WIDTH: usize>(number: i64) -> [u8; WIDTH] {
    let mut text = [b'0'; WIDTH];
    let mut rest = number.unsigned_abs();
    // The first place is the sign's.
    for digit in text.iter_mut().skip(1).rev() {
        *digit += u8::try_from(rest % 10).unwrap_or(9);
        rest /= 10;
    }
    if rest > 0 {
        text[1..].fill(b'9');
    }
    if number < 0 {
        text[0] = b'-';
    }
    text
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// What a save expects to be stored: version and user.
pub(super) fn belief(version: u64, user: Option<&UserId>) -> Vec<u8> {
    let mut text = Vec::with_capacity(at::USER - at::VERSION + user.map_or(0, length));
    text.extend(digits::<NUMBER>(i64::try_from(version).unwrap_or(i64::MAX)));
    push_user(&mut text, user);
    text
}

/// Of a [`belief`], its user alone.
pub(super) fn user_belief(user: Option<&UserId>) -> Vec<u8> {
    let mut text = Vec::with_capacity(at::USER - at::USER_LENGTH + user.map_or(0, length));
    push_user(&mut text, user);
    text
}

/// The place of the last byte that a script has to read for such a user.
pub(super) fn end(user: Option<&UserId>) -> usize {
    at::USER + user.map_or(0, length) - 1
}

fn length(user: &UserId) -> usize {
    user.as_str().len()
}

fn push_user(out: &mut Vec<u8>, user: Option<&UserId>) {
    let user = user.map_or("", UserId::as_str);
    out.extend(digits::<{ at::USER - at::USER_LENGTH }>(count(user.len())));
    out.extend(user.as_bytes());
}

/// Until when a session is kept, its key as well as the handle in the index of its user: not before it
/// expires, and the same for a while, so that not every save or extension writes the expiry and the
/// index. The script that extends reckons so too.
pub(super) fn kept_until(expires_at: WallTime, ttl: Duration) -> WallTime {
    let step = (i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX) / SLACK).max(1);
    let millis = expires_at.millis();
    WallTime::from_millis(millis.saturating_add((-millis).rem_euclid(step)))
}

/// A session as it is to lie there.
pub(super) fn pack(
    save: &SaveName,
    draft: &Draft,
    stored: &Stored,
    kept_until: WallTime,
) -> Result<Vec<u8>> {
    let (data, meta) = (draft.data.bytes(), draft.meta.bytes()?);
    let user = draft.user.as_ref();
    let mut out = Vec::with_capacity(end(user) + 1 + meta.len() + data.len());
    out.extend(SESSION);
    out.extend(save);
    for time in [stored.expires_at, kept_until, stored.updated_at, stored.created_at] {
        out.extend(digits::<NUMBER>(time.millis()));
    }
    out.extend(digits::<NUMBER>(i64::try_from(draft.ttl.as_millis()).unwrap_or(i64::MAX)));
    out.extend(digits::<{ at::VERSION - at::META_LENGTH }>(count(meta.len())));
    out.extend(belief(stored.version, user));
    out.extend(meta);
    out.extend(data);
    Ok(out)
}

/// A session as it lies there, or its beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed<'a> {
    bytes: &'a [u8],
    meta: usize,
    data: usize,
}

impl<'a> Packed<'a> {
    /// `None` for nothing, and for what a session leaves that moved.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Option<Self>> {
        if bytes.is_empty() || bytes.starts_with(MOVED) {
            return Ok(None);
        }
        if !bytes.starts_with(SESSION) || bytes.len() < at::USER {
            return Err(damaged());
        }
        let meta = at::USER + number::<usize>(&bytes[at::USER_LENGTH..at::USER])?;
        let data = meta + number::<usize>(&bytes[at::META_LENGTH..at::VERSION])?;
        Ok(Some(Self { bytes, meta, data }))
    }

    /// Does it reach to the data? What does not is only read as far as it is needed.
    pub(super) fn reaches_data(&self) -> bool {
        self.bytes.len() >= self.data
    }

    pub(super) fn is_by(&self, save: &SaveName) -> bool {
        self.bytes[at::SAVE..].starts_with(save)
    }

    pub(super) fn stored(&self) -> Result<Stored> {
        Ok(Stored {
            version: self.number(at::VERSION)?,
            created_at: self.time(at::CREATED)?,
            updated_at: self.time(at::WRITTEN)?,
            expires_at: self.time(at::EXPIRES)?,
        })
    }

    pub(super) fn user(&self) -> Result<Option<UserId>> {
        let text = self.bytes.get(at::USER..self.meta).ok_or_else(damaged)?;
        let text = std::str::from_utf8(text).map_err(|_| damaged())?;
        let user = Some(text).filter(|text| !text.is_empty()).map(UserId::new);
        user.transpose().map_err(|_| damaged())
    }

    fn meta(&self) -> Result<Kept<SessionMeta>> {
        Kept::<SessionMeta>::read(self.bytes.get(self.meta..self.data).ok_or_else(damaged)?)
    }

    pub(super) fn ttl(&self) -> Result<Duration> {
        self.number(at::TTL).map(Duration::from_millis)
    }

    pub(super) fn record(&self) -> Result<Record> {
        let Stored { version, created_at, updated_at, expires_at } = self.stored()?;
        let data = self.bytes.get(self.data..).ok_or_else(damaged)?;
        Ok(Record {
            version,
            data: Kept::<SessionData>::read(data)?,
            user: self.user()?,
            created_at,
            updated_at,
            expires_at,
            ttl: self.ttl()?,
            meta: self.meta()?,
        })
    }

    pub(super) fn listed(&self, handle: SessionHandle) -> Result<Listed> {
        let Stored { version, created_at, updated_at, expires_at } = self.stored()?;
        let (user, meta) = (self.user()?, self.meta()?);
        Ok(Listed { handle, user, version, created_at, updated_at, expires_at, meta })
    }

    fn time(&self, at: usize) -> Result<WallTime> {
        self.number(at).map(WallTime::from_millis)
    }

    fn number<T: std::str::FromStr>(&self, at: usize) -> Result<T> {
        number(&self.bytes[at..at + NUMBER])
    }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Result<T> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionMeta;

    const SAVE: SaveName = *b"0123456789abcdef0123456789abcdef";

    fn time(millis: i64) -> WallTime {
        WallTime::from_millis(millis)
    }

    fn draft(user: Option<&str>) -> Draft {
        Draft {
            user: user.map(|user| UserId::new(user).unwrap()),
            data: Kept::Plain(SessionData::parse(r#"{"ä":"\u0000"}"#).unwrap()),
            ttl: Duration::from_secs(60),
            meta: Kept::Plain(SessionMeta::new().with_user_agent("Firefox")),
            created_at: None,
        }
    }

    fn stored() -> Stored {
        Stored {
            version: 7,
            created_at: time(-5),
            updated_at: time(1_763_722_800_000),
            expires_at: time(1_763_722_860_000),
        }
    }

    #[test]
    fn what_was_packed_is_read() {
        for user in [None, Some("ada"), Some(&*"ü".repeat(128))] {
            let (draft, stored) = (draft(user), stored());
            let bytes = pack(&SAVE, &draft, &stored, time(1)).unwrap();
            let packed = Packed::read(&bytes).unwrap().unwrap();
            let record = packed.record().unwrap();
            assert!(packed.is_by(&SAVE) && !packed.is_by(&[b'0'; 32]));
            assert_eq!((record.version, record.created_at), (7, stored.created_at));
            let times = (record.updated_at, record.expires_at);
            assert_eq!(times, (stored.updated_at, stored.expires_at));
            assert_eq!((&record.user, record.ttl), (&draft.user, draft.ttl));
            assert_eq!(record.data.bytes(), draft.data.bytes());
            assert_eq!(record.meta.bytes().unwrap(), draft.meta.bytes().unwrap());
            let end = end(draft.user.as_ref());
            assert_eq!(bytes[at::VERSION..=end], belief(7, draft.user.as_ref()));
            assert_eq!(bytes[at::USER_LENGTH..=end], *user_belief(draft.user.as_ref()));
        }
    }

    #[test]
    fn a_beginning_is_a_listing_or_too_short_for_one() {
        let bytes = pack(&SAVE, &draft(Some("ada")), &stored(), time(1)).unwrap();
        let data = bytes.iter().position(|byte| *byte == b'}').unwrap() + 1;
        let handle = SessionHandle::new("AAx").unwrap();
        for length in at::USER..bytes.len() {
            let packed = Packed::read(&bytes[..length]).unwrap().unwrap();
            let listed = packed.listed(handle.clone());
            assert_eq!(listed.is_ok(), packed.reaches_data(), "{length}");
            assert_eq!(packed.reaches_data(), length >= data, "{length}");
        }
    }

    #[test]
    fn what_is_no_session_is_corrupt_and_what_a_move_leaves_is_none() {
        assert!(Packed::read(b"").unwrap().is_none());
        assert!(Packed::read(b"m1abc").unwrap().is_none());
        let good = pack(&SAVE, &draft(Some("ada")), &stored(), time(1)).unwrap();
        for length in 1..at::USER {
            assert!(Packed::read(&good[..length]).is_err(), "{length}");
        }
        for at in [0, at::EXPIRES, at::TTL, at::META_LENGTH, at::VERSION, at::USER_LENGTH] {
            let mut bad = good.clone();
            bad[at] = 0xff;
            let read = Packed::read(&bad).and_then(|it| it.unwrap().record());
            assert_eq!(read.unwrap_err().kind(), base::ErrorKind::Corrupt, "byte {at}");
        }
        let mut long = good;
        long[at::USER_LENGTH..at::USER].copy_from_slice(b"0999");
        assert!(Packed::read(&long).unwrap().unwrap().record().is_err());
    }

    #[test]
    fn numbers_have_their_width_and_keep_their_order() {
        for (number, text) in [(0, "0000"), (42, "0042"), (999, "0999"), (-7, "-007")] {
            assert_eq!(digits::<4>(number), *text.as_bytes(), "{number}");
        }
        assert_eq!(digits::<4>(i64::MAX), *b"0999");
        assert_eq!(digits::<4>(i64::MIN), *b"-999");
    }

    #[test]
    fn a_session_is_kept_until_it_expires_and_an_eighth_longer_at_most() {
        for (ttl, expires) in
            [(1, 17), (7, 17), (3_600_000, 1_763_722_800_001), (80, -33), (80, 40)]
        {
            let until = kept_until(time(expires), Duration::from_millis(ttl)).millis();
            let more = until - expires;
            assert!((0..=i64::try_from(ttl).unwrap() / 8).contains(&more), "{ttl} {expires}");
        }
        let hour = Duration::from_secs(3_600);
        let writes: std::collections::BTreeSet<_> =
            (0..3_600).map(|second| kept_until(time(second * 1_000), hour)).collect();
        assert!(writes.len() <= 9, "{}", writes.len());
    }
}

//! `--since`: where a time range begins.

use std::str::FromStr;
use std::time::Duration;

use jarvis_core::clock::WallTime;
use jarvis_core::units::{MAX_DURATION, parse_duration};
use jarvis_core::{Error, ErrorKind, Result};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// The start of a time range that ends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// So long ago.
    Ago(Duration),
    /// At this time.
    At(WallTime),
}

impl FromStr for Since {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Ok(duration) = parse_duration(text) {
            return Ok(Self::Ago(duration));
        }
        let at = text.parse::<Timestamp>().or_else(|_| {
            let local = text.parse::<DateTime>()?.to_zoned(TimeZone::system())?;
            Ok::<_, jiff::Error>(local.timestamp())
        });
        at.map(|at| Self::At(WallTime::from_millis(at.as_millisecond()))).map_err(|_| {
            let message = format!(
                "{text:?} is neither a duration nor a time; write a duration such as \"30s\", \"24h\" or \"7d\", a date such as \"2026-11-30\", or a time such as \"2026-11-30T22:00:00Z\""
            );
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}

impl Since {
    /// The time at which the range begins.
    ///
    /// # Errors
    /// `InvalidInput` for a time in the future, or over ten years ago.
    pub(crate) fn start(self, now: WallTime) -> Result<WallTime> {
        Ok(now - self.length(now)?)
    }

    /// How long the range is.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) fn length(self, now: WallTime) -> Result<Duration> {
        let at = match self {
            Self::Ago(duration) => return Ok(duration),
            Self::At(at) => at,
        };
        let refuse = |what: &str| {
            Err(Error::new(ErrorKind::InvalidInput, format!("--since {at} is {what}")))
        };
        if at > now {
            return refuse("in the future");
        }
        match now.saturating_since(at) {
            length if length > MAX_DURATION => refuse("more than ten years ago"),
            length => Ok(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> WallTime {
        let timestamp: Timestamp = text.parse().unwrap();
        WallTime::from_millis(timestamp.as_millisecond())
    }

    #[test]
    fn a_range_begins_a_duration_ago_or_at_a_time() {
        let now = at("2026-11-30T12:00:00Z");
        for (text, hours) in [
            ("24h", 24),
            ("7d", 7 * 24),
            ("2026-11-30T10:00:00Z", 2),
            ("2026-11-30T10:00+02:00", 4),
        ] {
            let since: Since = text.parse().unwrap();
            assert_eq!(since.length(now).unwrap(), Duration::from_secs(hours * 3_600), "{text}");
            assert_eq!(since.start(now).unwrap(), now - Duration::from_secs(hours * 3_600));
        }
        // Without an offset it is the local time of day.
        let midnight: Since = "2026-11-29".parse().unwrap();
        let length = midnight.length(now).unwrap();
        assert!((20..=52).contains(&(length.as_secs() / 3_600)), "{length:?}");
    }

    #[test]
    fn what_is_no_time_or_still_to_come_is_refused_with_an_example() {
        for text in ["", "5", "yesterday", "2026-13-01", "-5m"] {
            let error = text.parse::<Since>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
            assert!(error.message().contains("\"24h\""), "{error}");
        }
        let now = at("2026-11-30T12:00:00Z");
        for (text, why) in
            [("2027-01-01T00:00:00Z", "in the future"), ("1999-01-01T00:00:00Z", "ten years")]
        {
            let error = text.parse::<Since>().unwrap().length(now).unwrap_err();
            assert!(error.message().contains(why), "{error}");
        }
    }
}

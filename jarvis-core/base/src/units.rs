//! How people write quantities in a configuration: `"30s"`, `"64 MiB"`, `"85%"`.
//!
//! Each submodule goes into `#[serde(with = "…")]`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, ErrorKind, Result};

/// The longest duration a configuration may name: ten years.
pub const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// Reads `"30s"`, `"1h 30m"`, `"250ms"`, `"21d"`. A number without a unit is refused; a day is
/// 24 hours.
///
/// # Errors
/// `InvalidInput` with an example, also for a negative duration or one over [`MAX_DURATION`].
pub fn parse_duration(text: &str) -> Result<Duration> {
    let (days, rest) = split_days(text.trim());
    let rest = match (days, rest) {
        (Some(_), "") => Some(Duration::ZERO),
        (_, rest) => rest
            .parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok()),
    };
    rest.and_then(|rest| rest.checked_add(days.unwrap_or_default()))
        .filter(|duration| *duration <= MAX_DURATION)
        .ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is not a duration; write a number and a unit, such as \"30s\", \"5m\" or \"250ms\""),
            )
        })
}

/// Takes the days off the front: a duration as such has none, because a calendar's day may have
/// 23 or 25 hours.
fn split_days(text: &str) -> (Option<Duration>, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    let rest = rest.trim_start();
    let after = ["days", "day", "d"].iter().find_map(|unit| rest.strip_prefix(unit));
    let days = number.parse::<u64>().ok().and_then(|days| days.checked_mul(24 * 3_600));
    match (days, after) {
        (Some(seconds), Some(after)) => (Some(Duration::from_secs(seconds)), after.trim_start()),
        _ => (None, text),
    }
}

/// Writes a duration the way [`parse_duration`] reads it.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".to_owned();
    }
    match jiff::SignedDuration::try_from(duration) {
        Ok(duration) => format!("{duration:#}"),
        Err(_) => format!("{}s", duration.as_secs()),
    }
}

/// Reads `"64KiB"`, `"10 MB"`, `"4096"` (bytes) as a number of bytes.
///
/// # Errors
/// `InvalidInput` with an example.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: Option<u64> = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "kb" => Some(1_000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        "tb" => Some(1_000_000_000_000),
        "kib" => Some(1 << 10),
        "mib" => Some(1 << 20),
        "gib" => Some(1 << 30),
        "tib" => Some(1 << 40),
        _ => None,
    };
    number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor)).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("{text:?} is not a size; write a whole number and a unit, such as \"64KiB\" or \"10MB\""),
        )
    })
}

/// Reads `"85%"` or `85` as percent, 0 to 100.
///
/// # Errors
/// `InvalidInput` with an example.
pub fn parse_percent(text: &str) -> Result<f64> {
    let number = text.trim().trim_end_matches('%').trim_end();
    number.parse::<f64>().ok().filter(|percent| (0.0..=100.0).contains(percent)).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("{text:?} is not a percentage from 0% to 100%, such as \"85%\""),
        )
    })
}

/// `#[serde(with = "units::duration")]` for a [`Duration`].
pub mod duration {
    use super::{Deserialize, Deserializer, Duration, Serializer, format_duration, parse_duration};

    /// Writes `"30s"`.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*duration))
    }

    /// Reads `"30s"`.
    ///
    /// # Errors
    /// What is not a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map_err(|error| serde::de::Error::custom(error.message()))
    }
}

/// `#[serde(with = "units::optional_duration", default)]` for an `Option<Duration>`.
pub mod optional_duration {
    use super::{Deserialize, Deserializer, Duration, Serializer, format_duration, parse_duration};

    /// Writes `"30s"` or nothing.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_str(&format_duration(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads `"30s"` or nothing.
    ///
    /// # Errors
    /// What is not a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| parse_duration(&text))
            .transpose()
            .map_err(|error| serde::de::Error::custom(error.message()))
    }
}

/// `#[serde(with = "units::millis")]` for a [`Duration`]: a number of milliseconds, to a thousandth.
pub mod millis {
    use super::{Deserialize, Deserializer, Duration, MAX_DURATION, Serializer};

    /// Writes milliseconds.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if micros % 1_000 == 0 {
            return serializer.serialize_u64(micros / 1_000);
        }
        #[expect(clippy::cast_precision_loss, reason = "2^53 microseconds are 285 years")]
        serializer.serialize_f64(micros as f64 / 1_000.0)
    }

    /// Reads milliseconds.
    ///
    /// # Errors
    /// A negative number, or more than ten years.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let millis = f64::deserialize(deserializer)?;
        let micros = (millis * 1_000.0).round();
        if !(0.0..=MAX_DURATION.as_secs_f64() * 1e6).contains(&micros) {
            return Err(serde::de::Error::custom("milliseconds from 0 to ten years are expected"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        Ok(Duration::from_micros(micros as u64))
    }
}

/// `#[serde(with = "units::optional_millis", default)]` for an `Option<Duration>`.
pub mod optional_millis {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer, millis};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Millis(#[serde(with = "millis")] Duration);

    /// Writes milliseconds or nothing.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(Millis).serialize(serializer)
    }

    /// Reads milliseconds or nothing.
    ///
    /// # Errors
    /// As [`millis::deserialize`].
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Millis>::deserialize(deserializer)?.map(|Millis(duration)| duration))
    }
}

/// `#[serde(with = "units::bytes")]` for a `u64`: a string with a unit, or a number of bytes.
pub mod bytes {
    use super::{Deserialize, Deserializer, Serializer, parse_bytes};

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a size such as \"64KiB\", or a number of bytes")]
    enum Written {
        Number(u64),
        Text(String),
    }

    /// Writes the number of bytes.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(*bytes)
    }

    /// Reads `"64KiB"` or `65536`.
    ///
    /// # Errors
    /// What is not a size.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(bytes),
            Written::Text(text) => {
                parse_bytes(&text).map_err(|error| serde::de::Error::custom(error.message()))
            }
        }
    }
}

/// `#[serde(with = "units::percent")]` for an `f64` from 0 to 100.
pub mod percent {
    use super::{Deserialize, Deserializer, Serializer, parse_percent};

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a percentage such as \"85%\" or 85")]
    enum Written {
        Integer(i64),
        Number(f64),
        Text(String),
    }

    /// Writes `"85%"`.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(percent: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{percent}%"))
    }

    /// Reads `"85%"` or `85`.
    ///
    /// # Errors
    /// What is not a percentage from 0 to 100.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let text = match Written::deserialize(deserializer)? {
            Written::Integer(number) => number.to_string(),
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        parse_percent(&text).map_err(|error| serde::de::Error::custom(error.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip() {
        for (text, millis) in
            [("30s", 30_000), ("5m", 300_000), ("250ms", 250), ("1h 30m", 5_400_000), ("0s", 0)]
        {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration, "{text}");
        }
        for (text, hours) in [("21d", 504), ("3 days", 72), ("1d 12h", 36), ("1d2h", 26)] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_hours(hours), "{text}");
            assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration, "{text}");
        }
        for text in
            ["30", "", "-5s", "five", "99999999h", "d", "1dog", "99999999999999999999d", "-1d"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_percentages_are_read() {
        assert_eq!(parse_bytes("64KiB").unwrap(), 65_536);
        assert_eq!(parse_bytes("10 MB").unwrap(), 10_000_000);
        assert_eq!(parse_bytes("4096").unwrap(), 4_096);
        assert!(parse_bytes("1.5GB").is_err() && parse_bytes("99999999TiB").is_err());
        assert!((parse_percent("85%").unwrap() - 85.0).abs() < f64::EPSILON);
        assert!(parse_percent("101%").is_err() && parse_percent("NaN").is_err());
    }
}

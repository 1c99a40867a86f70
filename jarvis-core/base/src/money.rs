//! Money as integers: [`Usd`] in nano-dollars, [`PicoPrice`] in pico-dollars a token.
//!
//! Floating point never holds money. An `i64` of nano-dollars reaches ±9.2 billion dollars, a
//! `u64` of pico-dollars 18 million dollars a token.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, ErrorKind, Result};

const NANOS_PER_DOLLAR: i64 = 1_000_000_000;
const PICOS_PER_NANO: u128 = 1_000;

/// An amount of US dollars, exact to a nano-dollar. Serialised as a decimal string.
///
/// ```
/// use jarvis_core::Usd;
///
/// let spent: Usd = "127.50".parse()?;
/// assert_eq!(spent.to_string(), "127.5");
/// assert_eq!(spent.checked_add("0.000000001".parse()?).unwrap().nanos(), 127_500_000_001);
/// # Ok::<(), jarvis_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(i64);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From nano-dollars.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// In nano-dollars.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The sum, or `None` when it leaves the range.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        let (whole, part) =
            (nanos / NANOS_PER_DOLLAR.unsigned_abs(), nanos % NANOS_PER_DOLLAR.unsigned_abs());
        if part == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{part:09}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl FromStr for Usd {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{text:?} is not an amount in dollars such as \"0.002\", with at most nine decimals"
                ),
            )
        };
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || part.len() > 9 || !all_digits(whole) || !all_digits(part) {
            return Err(wrong());
        }
        let whole: i64 = whole.parse().map_err(|_| wrong())?;
        let part: i64 = format!("{part:0<9}").parse().map_err(|_| wrong())?;
        let nanos = whole
            .checked_mul(NANOS_PER_DOLLAR)
            .and_then(|nanos| nanos.checked_add(part))
            .ok_or_else(wrong)?;
        Ok(Self(if negative { -nanos } else { nanos }))
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A price for one token, in pico-dollars: one dollar for a million tokens is `1_000_000`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PicoPrice(u64);

impl PicoPrice {
    /// From pico-dollars a token.
    #[must_use]
    pub const fn from_picos(picos: u64) -> Self {
        Self(picos)
    }

    /// In pico-dollars a token.
    #[must_use]
    pub const fn picos(self) -> u64 {
        self.0
    }

    /// What that many tokens cost, rounded up to a nano-dollar, or `None` out of range.
    #[must_use]
    pub fn times(self, tokens: u64) -> Option<Usd> {
        let picos = u128::from(self.0) * u128::from(tokens);
        i64::try_from(picos.div_ceil(PICOS_PER_NANO)).ok().map(Usd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_round_trip() {
        for text in ["0", "1", "-1.5", "0.002", "500", "9223372036.854775807"] {
            assert_eq!(text.parse::<Usd>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", ".5", "1e3", "1,5", "$1", "0.0000000001", "9223372036.9", "--1"] {
            assert!(text.parse::<Usd>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_fraction_of_a_nano_dollar_is_not_lost() {
        assert_eq!(PicoPrice::from_picos(1).times(1), Some(Usd::from_nanos(1)));
        assert_eq!(PicoPrice::from_picos(5_000_000).times(400), Some("0.002".parse().unwrap()));
        assert_eq!(PicoPrice::from_picos(u64::MAX).times(u64::MAX), None);
    }
}

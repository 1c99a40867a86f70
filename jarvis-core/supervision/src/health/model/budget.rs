//! What completions may cost in a day.

use std::fmt;

use super::config::ModelConfig;
use base::clock::WallTime;
use base::sync::Mutex;
use base::{Error, ErrorKind, PicoPrice, Result, Usd};

const DAY_MILLIS: i64 = 24 * 3_600 * 1_000;
/// What the protocol adds to a question: role, separators.
const OVERHEAD_TOKENS: u64 = 32;

/// Counts each call at the most that it can cost, before it is made.
#[derive(Debug)]
pub(super) struct Budget {
    most: Usd,
    call: Usd,
    spent: Mutex<(i64, Usd)>,
}

impl Budget {
    pub(super) fn new(config: &ModelConfig) -> Result<Option<Self>> {
        let Some(most) = config.max_cost_per_day else { return Ok(None) };
        let wrong = |message| Error::new(ErrorKind::ConfigInvalid, message);
        let (Some(input), Some(output)) = (config.input_price, config.output_price) else {
            return Err(wrong(
                "\"max_cost_per_day\" needs \"input_price\" and \"output_price\", dollars for a million tokens",
            ));
        };
        // A byte is at most a token.
        let question = config.prompt.len() as u64 + OVERHEAD_TOKENS;
        let call = price(input)
            .and_then(|price| price.times(question))
            .zip(price(output).and_then(|price| price.times(config.max_tokens.into())))
            .and_then(|(question, answer)| question.checked_add(answer))
            .filter(|_| most >= Usd::ZERO)
            .ok_or_else(|| wrong("prices and \"max_cost_per_day\" must be zero or more dollars"))?;
        Ok(Some(Self { most, call, spent: Mutex::new((i64::MIN, Usd::ZERO)) }))
    }

    /// Takes the price of one call, or says that there is not that much left today.
    pub(super) fn take(&self, now: WallTime) -> bool {
        let today = now.millis().div_euclid(DAY_MILLIS);
        let mut spent = self.spent.lock();
        // A clock that is set back refunds nothing.
        if today > spent.0 {
            *spent = (today, Usd::ZERO);
        }
        match spent.1.checked_add(self.call).filter(|sum| *sum <= self.most) {
            Some(sum) => {
                spent.1 = sum;
                true
            }
            None => false,
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.most.fmt(f)
    }
}

/// Dollars for a million tokens as pico-dollars for one, rounded up.
fn price(for_a_million: Usd) -> Option<PicoPrice> {
    u64::try_from(for_a_million.nanos())
        .ok()
        .map(|nanos| PicoPrice::from_picos(nanos.div_ceil(1_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(most: &str) -> Result<Option<Budget>> {
        let usd = |text: &str| text.parse::<Usd>().unwrap();
        let config = ModelConfig::new("http://h", "m").with_completion().with_max_cost_per_day(
            usd(most),
            usd("1"),
            usd("64"),
        );
        Budget::new(&config)
    }

    #[test]
    fn the_day_ends_the_limit_and_a_clock_set_back_does_not() {
        // 36 tokens at a dollar and one at 64, for a million: 100 millionths of a dollar.
        let budget = budget("0.0003").unwrap().unwrap();
        let noon = WallTime::from_millis(DAY_MILLIS / 2);
        let takes = |at| (0..5).filter(|_| budget.take(at)).count();
        assert_eq!(takes(noon), 3);
        assert_eq!(takes(WallTime::from_millis(-DAY_MILLIS)), 0);
        assert_eq!(takes(WallTime::from_millis(DAY_MILLIS)), 3);
    }

    #[test]
    fn a_limit_needs_prices() {
        let mut config = ModelConfig::new("http://h", "m");
        config.max_cost_per_day = Some(Usd::ZERO);
        assert_eq!(Budget::new(&config).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        assert!(budget("-1").is_err());
    }
}

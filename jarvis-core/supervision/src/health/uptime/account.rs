//! [`Account`]: what is known of one service in one span of time, in whole milliseconds.

use super::Histogram;
use base::vocabulary::ServiceState;

/// Time and probes of one service in a minute, an hour, a day or a window. What no sample owns is
/// not in it: it is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Account {
    /// Milliseconds in which it was healthy.
    pub healthy_ms: u64,
    /// Milliseconds in which it worked, not as it should.
    pub degraded_ms: u64,
    /// Milliseconds in which it did not work.
    pub down_ms: u64,
    /// Milliseconds of maintenance, in whatever state.
    pub excluded_ms: u64,
    /// Probes that measured something.
    pub probes: u64,
    /// Of these, failures.
    pub failures: u64,
    /// How long those took that did not fail.
    pub latency: Histogram,
}

impl Account {
    /// Is there nothing in it?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known_ms() == 0 && self.probes == 0
    }

    /// Milliseconds of which anything is known, maintenance included.
    #[must_use]
    pub const fn known_ms(&self) -> u64 {
        self.healthy_ms + self.degraded_ms + self.down_ms + self.excluded_ms
    }

    /// Adds time in a state; unknown time is not added.
    pub(super) const fn spend(&mut self, state: ServiceState, millis: u64, excluded: bool) {
        match state {
            ServiceState::Unknown => {}
            _ if excluded => self.excluded_ms += millis,
            ServiceState::Healthy => self.healthy_ms += millis,
            ServiceState::Degraded => self.degraded_ms += millis,
            ServiceState::Down => self.down_ms += millis,
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.healthy_ms += other.healthy_ms;
        self.degraded_ms += other.degraded_ms;
        self.down_ms += other.down_ms;
        self.excluded_ms += other.excluded_ms;
        self.probes += other.probes;
        self.failures += other.failures;
        self.latency.merge(&other.latency);
    }

    /// Time that the wall clock went through twice is counted once, in proportion: a span never
    /// holds more than its length.
    pub(super) fn fit(&mut self, span_ms: u64) {
        let known = self.known_ms();
        if known > span_ms {
            let scale = |millis: u64| {
                let scaled = u128::from(millis) * u128::from(span_ms) / u128::from(known);
                u64::try_from(scaled).unwrap_or(span_ms)
            };
            self.healthy_ms = scale(self.healthy_ms);
            self.degraded_ms = scale(self.degraded_ms);
            self.down_ms = scale(self.down_ms);
            self.excluded_ms = scale(self.excluded_ms);
        }
    }
}

#[cfg(test)]
pub(super) use tests::any_account;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        pub(in crate::health::uptime) fn any_account()(fields: [u32; 6], latency in prop::collection::vec((0_u16..600, 1_u32..1_000), 0..20)) -> Account {
            let [healthy_ms, degraded_ms, down_ms, excluded_ms, probes, failures] = fields.map(u64::from);
            Account { healthy_ms, degraded_ms, down_ms, excluded_ms, probes, failures, latency: Histogram::from_entries(latency) }
        }
    }

    proptest! {
        #[test]
        fn a_span_never_holds_more_than_its_length(account in any_account(), span: u32) {
            let mut fitted = account.clone();
            fitted.fit(u64::from(span));
            prop_assert!(fitted.known_ms() <= u64::from(span).max(account.known_ms().min(u64::from(span))));
        }
    }
}

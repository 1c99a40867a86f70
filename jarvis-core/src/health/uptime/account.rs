//! [`Account`]: what is known of one service in one span of time, in whole milliseconds.

use super::Histogram;
use crate::vocabulary::ServiceState;
use crate::{Error, ErrorKind, Result};

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

    /// Appends it to a block: LEB128 numbers.
    pub(super) fn pack(&self, block: &mut Vec<u8>) {
        let fields = [
            self.healthy_ms,
            self.degraded_ms,
            self.down_ms,
            self.excluded_ms,
            self.probes,
            self.failures,
        ];
        fields.into_iter().for_each(|field| pack_number(block, field));
        let entries = self.latency.entries();
        pack_number(block, entries.len() as u64);
        let mut before = 0;
        for (bucket, count) in entries {
            pack_number(block, u64::from(bucket - before));
            pack_number(block, u64::from(count));
            before = bucket;
        }
    }

    /// Reads one off the front of a block.
    pub(super) fn unpack(block: &mut &[u8]) -> Result<Self> {
        let mut account = Self {
            healthy_ms: unpack_number(block)?,
            degraded_ms: unpack_number(block)?,
            down_ms: unpack_number(block)?,
            excluded_ms: unpack_number(block)?,
            probes: unpack_number(block)?,
            failures: unpack_number(block)?,
            latency: Histogram::new(),
        };
        let mut bucket = 0_u64;
        for _ in 0..unpack_number(block)? {
            bucket = bucket.saturating_add(unpack_number(block)?);
            let count = u32::try_from(unpack_number(block)?).map_err(|_| damaged())?;
            account.latency.add(u16::try_from(bucket).map_err(|_| damaged())?, count);
        }
        Ok(account)
    }
}

pub(super) fn pack_number(block: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        block.push(0x80 | u8::try_from(number & 0x7f).unwrap_or(0));
        number >>= 7;
    }
    block.push(u8::try_from(number).unwrap_or(0));
}

pub(super) fn unpack_number(block: &mut &[u8]) -> Result<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = block.split_first().ok_or_else(damaged)?;
        *block = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(damaged())
}

fn damaged() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "a block of the history is damaged; the minutes in it are lost, move history.db away to begin a new one",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn any_account()(fields: [u32; 6], latency in prop::collection::vec((0_u16..600, 1_u32..1_000), 0..20)) -> Account {
            let [healthy_ms, degraded_ms, down_ms, excluded_ms, probes, failures] = fields.map(u64::from);
            Account { healthy_ms, degraded_ms, down_ms, excluded_ms, probes, failures, latency: Histogram::from_entries(latency) }
        }
    }

    proptest! {
        #[test]
        fn packing_loses_nothing(accounts in prop::collection::vec(any_account(), 0..10)) {
            let mut block = Vec::new();
            accounts.iter().for_each(|account| account.pack(&mut block));
            let mut rest = block.as_slice();
            for account in accounts {
                prop_assert_eq!(Account::unpack(&mut rest).unwrap(), account);
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn damage_is_an_error_never_a_panic(bytes: Vec<u8>) {
            let mut rest = bytes.as_slice();
            while !rest.is_empty() && Account::unpack(&mut rest).is_ok() {}
        }

        #[test]
        fn a_span_never_holds_more_than_its_length(account in any_account(), span: u32) {
            let mut fitted = account.clone();
            fitted.fit(u64::from(span));
            prop_assert!(fitted.known_ms() <= u64::from(span).max(account.known_ms().min(u64::from(span))));
        }
    }

    #[test]
    fn a_usual_minute_takes_a_dozen_bytes() {
        let mut account = Account { healthy_ms: 60_000, probes: 2, ..Account::default() };
        account.latency.record(std::time::Duration::from_micros(1_300));
        account.latency.record(std::time::Duration::from_micros(1_900));
        let mut block = Vec::new();
        account.pack(&mut block);
        assert!(block.len() <= 14, "{}", block.len());
    }
}

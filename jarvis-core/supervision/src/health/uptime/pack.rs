//! The form of an [`Account`] in a block of the history: LEB128 numbers.

use super::{Account, Histogram};
use base::{Error, ErrorKind, Result};

impl Account {
    /// Appends it to a block.
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

    use super::super::account::any_account;
    use super::*;

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

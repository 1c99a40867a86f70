//! A history that fails for a while: nothing is lost, nothing comes twice, it is told once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::tests::{Kept, World, check, id, secs};
use super::*;
use crate::health::memory::MemoryProbe;
use crate::health::uptime::{Account, ClosedMinute, PassedCheck};
use base::clock::{Clock, ManualClock, WallTime};
use base::events::Event;
use base::sync::Mutex;
use base::{Error, ErrorKind};

/// Keeps what it is given, while it is not broken.
#[derive(Debug, Default)]
struct Shelf {
    broken: AtomicBool,
    minutes: Mutex<Vec<ClosedMinute>>,
    passed: Mutex<Vec<PassedCheck>>,
}

impl Shelf {
    fn works(&self) -> Result<()> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Exhausted, "the disk is full"));
        }
        Ok(())
    }
}

#[async_trait]
impl History for Shelf {
    async fn append(&self, minutes: Vec<ClosedMinute>) -> Result<()> {
        self.works()?;
        self.minutes.lock().extend(minutes);
        Ok(())
    }

    async fn totals(
        &self,
        from: WallTime,
        _: WallTime,
    ) -> Result<(WallTime, BTreeMap<ServiceId, Account>)> {
        Ok((from, BTreeMap::new()))
    }

    async fn remember_passed(&self, checks: Vec<PassedCheck>) -> Result<()> {
        self.works()?;
        self.passed.lock().extend(checks);
        Ok(())
    }

    async fn passed(&self) -> Result<Vec<PassedCheck>> {
        self.works()?;
        Ok(self.passed.lock().clone())
    }
}

fn troubles(bus: &Kept) -> usize {
    let events = bus.0.lock();
    events.iter().filter(|event| matches!(event, Event::OperatorTrouble { .. })).count()
}

#[tokio::test]
async fn a_history_that_fails_for_a_while_gets_everything_once_and_in_order() {
    let shelf = Arc::new(Shelf::default());
    shelf.broken.store(true, Ordering::SeqCst);
    let clock = ManualClock::new();
    let bus = Arc::new(Kept::default());
    let aggregator = Aggregator::new(Arc::new(clock.clone()), Arc::clone(&bus) as _);
    aggregator.set_history(Arc::clone(&shelf) as _);
    let probe = MemoryProbe::passing();
    aggregator.apply(vec![ServiceSpec::new(id("api"), vec![check("main", &probe)])]).unwrap();
    let running = aggregator.clone();
    tokio::spawn(async move { running.run(std::future::pending()).await });
    let world = World { clock, bus, aggregator };

    // It can't even be read at the start; three minutes go by.
    let began = world.clock.wall();
    world.pass(secs(200)).await;
    assert_eq!(troubles(&world.bus), 1, "told once, not every five seconds");
    assert!(shelf.minutes.lock().is_empty());
    shelf.broken.store(false, Ordering::SeqCst);
    world.pass(secs(6)).await;
    let whole = |shelf: &Shelf| {
        let minutes = shelf.minutes.lock();
        let numbers: Vec<i64> = minutes.iter().map(|minute| minute.minute).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "each once, in order: {numbers:?}");
        let first = began.millis().div_euclid(60_000);
        let now = world.clock.wall().millis().div_euclid(60_000);
        assert_eq!(numbers, (first..now).collect::<Vec<_>>(), "none is missing");
        minutes.iter().map(|minute| minute.account.probes).sum::<u64>()
    };
    let probes = whole(&shelf);
    assert!(probes >= 6, "every 30 s: {probes}");
    let passed = shelf.passed.lock().clone();
    assert_eq!(passed.len(), 1, "{passed:?}");

    // A second trouble is news again.
    shelf.broken.store(true, Ordering::SeqCst);
    world.pass(secs(130)).await;
    assert_eq!(troubles(&world.bus), 2);
    shelf.broken.store(false, Ordering::SeqCst);
    world.pass(secs(6)).await;
    assert!(whole(&shelf) > probes);
}

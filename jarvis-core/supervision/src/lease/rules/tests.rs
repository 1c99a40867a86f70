//! Both ledgers against a model that knows the true time.

use std::sync::Arc;

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::lease::{MemoryLedger, RestartLedger};
use base::clock::{Clock, ManualClock, WallTime};
use base::vocabulary::IntentId;

const SERVICES: [&str; 2] = ["api", "web"];
const OWN: Limit = Limit { max: 3, window: Duration::from_secs(300) };
const OWN_LONG: Limit = Limit { max: 5, window: Duration::from_secs(1_500) };
const GLOBAL: Limit = Limit { max: 4, window: Duration::from_secs(200) };

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Suspend(u64),
    Reboot(u64),
    SetWall(i64),
    Reserve(usize),
    Again,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0_u64..200).prop_map(Step::Pass),
        1 => (0_u64..400).prop_map(Step::Suspend),
        1 => (0_u64..400).prop_map(Step::Reboot),
        1 => (-10_000_i64..10_000).prop_map(Step::SetWall),
        6 => (0..SERVICES.len()).prop_map(Step::Reserve),
        1 => Just(Step::Again),
    ];
    prop::collection::vec(step, 1..60)
}

struct Model {
    clock: ManualClock,
    /// The true time, which no clock tells.
    now: Duration,
    granted: Vec<(usize, Duration)>,
    intents: usize,
    last: Option<Attempt>,
}

impl Model {
    fn fits(&self, limit: Limit, service: Option<usize>) -> bool {
        let counts = |(of, at): &&(usize, Duration)| {
            service.is_none_or(|service| service == *of) && self.now - *at < limit.window
        };
        self.granted.iter().filter(counts).count() < limit.max as usize
    }

    fn move_time(&mut self, step: &Step) {
        match step {
            Step::Pass(seconds) => self.clock.advance(Duration::from_secs(*seconds)),
            Step::Suspend(seconds) => self.clock.suspend(Duration::from_secs(*seconds)),
            Step::Reboot(seconds) => self.clock.reboot(Duration::from_secs(*seconds)),
            Step::SetWall(seconds) => {
                let wall = self.clock.wall().millis() + seconds * 1_000;
                self.clock.set_wall(WallTime::from_millis(wall));
            }
            Step::Reserve(_) | Step::Again => {}
        }
        if let Step::Pass(seconds) | Step::Suspend(seconds) | Step::Reboot(seconds) = step {
            self.now += Duration::from_secs(*seconds);
        }
    }

    fn attempt(&mut self, service: usize) -> Attempt {
        self.intents += 1;
        let id = ServiceId::new(SERVICES[service]).unwrap();
        let intent = IntentId::new(format!("intent-{}", self.intents)).unwrap();
        Attempt::new(id, intent, FencingToken::new(1))
            .with_limit(OWN)
            .with_limit(OWN_LONG)
            .with_global_limit(GLOBAL)
    }
}

/// A look at the ledger, as the lease's renewals give one every few seconds.
fn look() -> Attempt {
    let never = Limit { max: 0, window: Duration::from_secs(1) };
    let (service, intent) = (ServiceId::new("look").unwrap(), IntentId::new("look").unwrap());
    Attempt::new(service, intent, FencingToken::new(1)).with_limit(never)
}

/// Grants exactly what the model grants: never more than `max` in any window, and nothing that
/// fits is held back, whatever the clocks do.
async fn agrees(ledger: &dyn RestartLedger, clock: &ManualClock, steps: &[Step]) {
    let mut model = Model {
        clock: clock.clone(),
        now: Duration::ZERO,
        granted: Vec::new(),
        intents: 0,
        last: None,
    };
    for step in steps {
        model.move_time(step);
        ledger.reserve(look()).await.unwrap();
        if let (Step::Again, Some(last)) = (step, &model.last) {
            assert_eq!(ledger.reserve(last.clone()).await.unwrap(), Reservation::Granted);
        }
        let Step::Reserve(service) = step else { continue };
        let fits = model.fits(OWN, Some(*service))
            && model.fits(OWN_LONG, Some(*service))
            && model.fits(GLOBAL, None);
        let attempt = model.attempt(*service);
        let answer = ledger.reserve(attempt.clone()).await.unwrap();
        assert_eq!(answer == Reservation::Granted, fits, "at {:?}: {answer:?}", model.now);
        if fits {
            model.granted.push((*service, model.now));
            model.last = Some(attempt);
        }
    }
}

proptest! {
    #[test]
    fn the_memory_ledger_agrees_with_true_time(steps in steps()) {
        let clock = ManualClock::new();
        let ledger = MemoryLedger::new(Arc::new(clock.clone()));
        agrees(&ledger, &clock, &steps).now_or_never().unwrap();
    }
}

#[cfg(feature = "sqlite")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn the_sqlite_ledger_agrees_with_true_time(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        let options = base::store::sqlite::Options::new();
        let path = folder.path().join("operator.db");
        let sqlite = base::store::sqlite::Sqlite::open(path, &options).unwrap();
        let ledger = crate::lease::SqliteLedger::new(&sqlite, Arc::new(clock.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(agrees(&ledger, &clock, &steps));
    }
}

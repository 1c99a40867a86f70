//! Backends of `EventBus`.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jarvis_core::clock::SystemClock;
use jarvis_core::events::{EventBus, MemoryBus};
use jarvis_core::testkit::bus::{BusEnv, CASES};
use jarvis_core::{Error, ErrorKind, Result};

use crate::harness::Suite;

/// Instances on one bus, each handed over once.
#[derive(Debug)]
struct Instances(Mutex<Vec<Arc<dyn EventBus>>>);

impl Instances {
    fn new(one: impl EventBus, two: impl EventBus) -> Self {
        Self(Mutex::new(vec![Arc::new(one), Arc::new(two)]))
    }
}

#[async_trait]
impl BusEnv for Instances {
    async fn take(&self) -> Result<Arc<dyn EventBus>> {
        let bus = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        bus.ok_or_else(|| Error::new(ErrorKind::Internal, "both instances were taken before"))
    }
}

pub(crate) fn add(suite: &mut Suite) {
    suite.backend(
        "bus",
        "memory",
        CASES,
        |env: &Instances| env,
        || async {
            let bus = MemoryBus::new(Arc::new(SystemClock::new()), "conformance-1");
            Ok(Instances::new(bus.another("conformance-2"), bus))
        },
    );
}

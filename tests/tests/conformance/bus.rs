//! Backends of `EventBus`.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jarvis_core::clock::SystemClock;
use jarvis_core::events::{EventBus, MemoryBus};
use jarvis_core::testkit::bus::{BusEnv, CASES};
use jarvis_core::{Error, ErrorKind, Result};

use crate::harness::Suite;

#[derive(Debug)]
struct Once(Mutex<Option<Arc<dyn EventBus>>>);

#[async_trait]
impl BusEnv for Once {
    async fn take(&self) -> Result<Arc<dyn EventBus>> {
        let bus = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        bus.ok_or_else(|| Error::new(ErrorKind::Internal, "the bus was taken before"))
    }
}

pub(crate) fn add(suite: &mut Suite) {
    suite.backend(
        "bus",
        "memory",
        CASES,
        |env: &Once| env,
        || async {
            let bus = MemoryBus::new(Arc::new(SystemClock::new()), "conformance");
            Ok(Once(Mutex::new(Some(Arc::new(bus)))))
        },
    );
}

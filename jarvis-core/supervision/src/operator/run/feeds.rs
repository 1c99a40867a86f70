//! What comes in by itself: the aggregator's changes, the platforms' events, the canary.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use super::Shared;
use crate::health::aggregator::Change;
use crate::operator::machine::input::Input;
use crate::operator::machine::record::HealthReport;
use crate::operator::policy::ManagedService;
use crate::restart::{InstanceEvent, ServiceRestarter};
use base::ErrorKind;
use base::clock::ClockExt;
use base::vocabulary::ServiceId;

/// Before a platform that can't be watched is asked again.
const WATCH_AGAIN: Duration = Duration::from_secs(5);

pub(super) fn changes(shared: &Arc<Shared>, tasks: &mut JoinSet<()>) {
    let shared = Arc::clone(shared);
    let mut changes = shared.parts.health.changes();
    tasks.spawn(async move {
        while let Some(change) = changes.next().await {
            let Change { service, state, cause, ever_passed, flapping, watched, began, .. } =
                change;
            if watched {
                let report = HealthReport { state, cause, ever_passed, flapping };
                shared.input(Input::Health { service, report, began });
            }
        }
    });
}

pub(super) fn canary(shared: &Arc<Shared>, tasks: &mut JoinSet<()>) {
    let Some(every) = shared.settings().canary_every else { return };
    let shared = Arc::clone(shared);
    tasks.spawn(async move {
        loop {
            let result = crate::operator::canary::self_check(&shared.parts.clock).await;
            shared.input(Input::Canary(result));
            shared.parts.clock.sleep(every).await;
        }
    });
}

/// One watcher a service.
#[derive(Default)]
pub(super) struct Feeds {
    watchers: HashMap<ServiceId, (Arc<dyn ServiceRestarter>, AbortHandle)>,
}

impl Feeds {
    pub(super) fn watch(&mut self, shared: &Arc<Shared>, services: &[ManagedService]) {
        let wanted = |id: &ServiceId| {
            let service = services.iter().find(|service| service.id == *id)?;
            service.restarter.clone()
        };
        self.watchers.retain(|id, (restarter, watcher)| {
            let same = wanted(id).is_some_and(|wanted| Arc::ptr_eq(&wanted, restarter));
            if !same {
                watcher.abort();
            }
            same
        });
        for service in services {
            let Some(restarter) = &service.restarter else { continue };
            if !self.watchers.contains_key(&service.id) {
                let watcher = follow(shared, service.id.clone(), Arc::clone(restarter));
                self.watchers.insert(service.id.clone(), (Arc::clone(restarter), watcher));
            }
        }
    }
}

impl Drop for Feeds {
    fn drop(&mut self) {
        self.watchers.values().for_each(|(_, watcher)| watcher.abort());
    }
}

fn follow(
    shared: &Arc<Shared>,
    service: ServiceId,
    restarter: Arc<dyn ServiceRestarter>,
) -> AbortHandle {
    let shared = Arc::clone(shared);
    let task = tokio::spawn(async move {
        loop {
            match restarter.watch().await {
                Ok(mut events) => {
                    while let Some(event) = events.next().await {
                        shared.input(Input::Instance { service: service.clone(), event });
                    }
                    let event = InstanceEvent::Gap;
                    shared.input(Input::Instance { service: service.clone(), event });
                }
                Err(error) if error.kind() == ErrorKind::Unsupported => return,
                Err(_) => {}
            }
            shared.parts.clock.sleep(WATCH_AGAIN).await;
        }
    });
    task.abort_handle()
}

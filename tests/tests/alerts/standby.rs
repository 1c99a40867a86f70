//! The alerter beside a leader: it says nothing until the lease is ours, and nothing twice then.

use std::sync::Arc;

use jarvis_core::alert::{
    AlertJournal, AlertSink, AlertStatus, Alerter, MemoryJournal, MemorySink,
};
use jarvis_core::clock::{SharedClock, SystemClock};
use jarvis_core::events::Event;
use jarvis_core::vocabulary::{FencingToken, HolderId, ServiceId, ServiceState};

use crate::{alerter, configure, later, opened, while_running};

fn acquired() -> Event {
    let (holder, token) = (HolderId::new("us").unwrap(), FencingToken::new(2));
    Event::LeaseAcquired { holder, token }
}

fn watched(service: &str, to: ServiceState) -> Event {
    let service = ServiceId::new(service).unwrap();
    Event::ServiceChanged { service, from: ServiceState::Healthy, to, cause: None }
}

/// An alerter on standby, a leader, and the journal that both read.
fn stage() -> (Alerter, MemorySink, Alerter, MemorySink, SharedClock) {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let journal: Arc<dyn AlertJournal> = Arc::new(MemoryJournal::new());
    let (told, heard) = (MemorySink::new(), MemorySink::new());
    let leader_sink: Arc<dyn AlertSink> = Arc::new(told.clone());
    let standby_sink: Arc<dyn AlertSink> = Arc::new(heard.clone());
    let leader = alerter(&clock, &journal, &[("ops", &leader_sink)]);
    let standby = Alerter::new(Arc::clone(&clock), journal).standby();
    configure(&standby, &[("ops", &standby_sink)]);
    (leader, told, standby, heard, clock)
}

#[tokio::test]
async fn a_standby_tells_nothing_and_takes_over_without_repeating() {
    let (leader, told, standby, heard, _) = stage();
    let [escalated, recovered, resolved] = later("api");
    while_running(&standby, async {
        // It reads the journal now, before there is anything in it.
        standby.accept(&opened("api")).await.unwrap();
        while_running(&leader, async {
            leader.accept(&opened("api")).await.unwrap();
            told.wait_for(1).await;
        })
        .await;
        assert_eq!(told.delivered()[0].status, AlertStatus::Triggered);
        assert_eq!(heard.attempts(), 0, "both would call the same person");

        // The leader is gone. What it told is not told again; what follows from it is.
        standby.accept(&acquired()).await.unwrap();
        standby.accept(&opened("api")).await.unwrap();
        standby.accept(&escalated).await.unwrap();
        standby.accept(&recovered).await.unwrap();
        standby.accept(&resolved).await.unwrap();
        let mut said = heard.wait_for(1).await;
        assert_eq!(said[0].key, told.delivered()[0].key, "the same alert goes on");
        while said.last().unwrap().status != AlertStatus::Resolved {
            said = heard.wait_for(said.len() + 1).await;
        }
    })
    .await;
    let again = heard.delivered().into_iter().any(|alert| alert.status == AlertStatus::Triggered);
    assert!(!again, "{:#?}", heard.delivered());
}

#[tokio::test]
async fn what_is_still_wrong_when_the_lease_comes_is_told_then() {
    let (_, _, standby, heard, _) = stage();
    while_running(&standby, async {
        standby.accept(&watched("db", ServiceState::Degraded)).await.unwrap();
        standby.accept(&watched("web", ServiceState::Degraded)).await.unwrap();
        standby.accept(&watched("web", ServiceState::Healthy)).await.unwrap();
        standby.accept(&acquired()).await.unwrap();
        let told = heard.wait_for(1).await;
        let service = told[0].service.as_ref().map(ServiceId::as_str);
        assert_eq!((told.len(), service), (1, Some("db")), "{told:#?}");

        // The lease goes to somebody else: from then on that one tells.
        let lost = Event::LeaseLost { reason: "a test".to_owned() };
        standby.accept(&lost).await.unwrap();
        standby.accept(&opened("api")).await.unwrap();
        standby.accept(&acquired()).await.unwrap();
        standby.accept(&opened("late")).await.unwrap();
        let told = heard.wait_for(2).await;
        let service = told[1].service.as_ref().map(ServiceId::as_str);
        assert_eq!(service, Some("late"), "{told:#?}");
    })
    .await;
}

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::events::{Event, EventBus, Filter, MemoryBus, SUBSCRIBER_BUFFER, Topic};
use crate::store::sqlite::Options;
use crate::vocabulary::Severity;

const DAY: Duration = Duration::from_secs(24 * 3_600);

struct Stage {
    clock: ManualClock,
    folder: TempDir,
    bus: MemoryBus,
}

impl Stage {
    fn new() -> Self {
        let clock = ManualClock::new();
        let bus = MemoryBus::new(Arc::new(clock.clone()), "one");
        Self { clock, folder: tempfile::tempdir().unwrap(), bus }
    }

    fn log(&self, retention: Retention) -> EventLog {
        let sqlite = Sqlite::open(self.folder.path().join("history.db"), &Options::new()).unwrap();
        EventLog::new(&sqlite, Arc::new(self.clock.clone()), retention)
    }
}

fn trouble(number: usize) -> Event {
    Event::OperatorTrouble { severity: Severity::Info, message: number.to_string() }
}

fn flapping(service: &str) -> Event {
    Event::FlappingStarted { service: ServiceId::new(service).unwrap() }
}

async fn events(log: &EventLog, query: EventQuery) -> Vec<Event> {
    log.read(query).await.unwrap().entries.into_iter().map(|entry| entry.envelope.event).collect()
}

#[tokio::test]
async fn what_the_bus_carried_is_read_by_topic_service_time_and_cursor() {
    let stage = Stage::new();
    let log = stage.log(Retention::new());
    let subscription = stage.bus.subscribe(Filter::all()).await.unwrap();
    let start = stage.clock.wall();
    for event in [trouble(1), flapping("api"), flapping("web"), trouble(2)] {
        stage.bus.publish(event).await.unwrap();
        stage.clock.advance(Duration::from_secs(1));
    }
    log.record(subscription, std::future::ready(())).await;

    assert_eq!(events(&log, EventQuery::new()).await.len(), 4);
    let health = EventQuery::new().with_topic(Topic::Health);
    assert_eq!(events(&log, health).await, [flapping("api"), flapping("web")]);
    let web = EventQuery::new().with_service(ServiceId::new("web").unwrap());
    assert_eq!(events(&log, web).await, [flapping("web")]);
    let seconds = |n| start + Duration::from_secs(n);
    let middle = EventQuery::new().with_since(seconds(1)).with_until(seconds(3));
    assert_eq!(events(&log, middle).await, [flapping("api"), flapping("web")]);
    assert_eq!(events(&log, EventQuery::new().with_last(1)).await, [trouble(2)]);
    let first = log.read(EventQuery::new().with_first(3)).await.unwrap();
    assert_eq!(first.entries.len(), 3);
    let rest = EventQuery::new().with_after(first.last.unwrap());
    assert_eq!(events(&log, rest).await, [trouble(2)]);
}

#[tokio::test]
async fn recording_goes_on_until_told_and_a_follower_sees_it() {
    let stage = Stage::new();
    let log = stage.log(Retention::new());
    let subscription = stage.bus.subscribe(Filter::all()).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let recorder = log.clone();
    let recording = tokio::spawn(async move {
        recorder.record(subscription, stopped.map(drop)).await;
    });
    stage.bus.publish(trouble(1)).await.unwrap();
    let mut follow = log.follow(EventQuery::new().with_last(10));
    for number in 1..=3 {
        if number > 1 {
            stage.bus.publish(trouble(number)).await.unwrap();
        }
        // The follower waits on the manual clock, the disk on none.
        let ticking = async {
            loop {
                stage.clock.advance_to_next();
                tokio::task::yield_now().await;
            }
        };
        let entry = tokio::select! {
            biased;
            entry = follow.next() => entry,
            () = ticking => unreachable!("the clock goes on for ever"),
        };
        assert_eq!(entry.unwrap().envelope.event, trouble(number));
    }
    stop.send(()).unwrap();
    recording.await.unwrap();
    assert_eq!(events(&log, EventQuery::new()).await.len(), 3);
}

#[tokio::test]
async fn who_follows_without_the_past_gets_none_of_it() {
    let stage = Stage::new();
    let log = stage.log(Retention::new());
    let record = async |numbers: std::ops::Range<usize>| {
        let subscription = stage.bus.subscribe(Filter::all()).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        for number in numbers {
            stage.bus.publish(trouble(number)).await.unwrap();
        }
        stop.send(()).unwrap();
        log.record(subscription, stopped.map(drop)).await;
    };
    record(0..3).await;
    let end = log.read(EventQuery::new().with_last(0)).await.unwrap();
    let newest = log.read(EventQuery::new().with_last(1)).await.unwrap();
    assert_eq!((end.entries.len(), end.last), (0, newest.last), "where a follower begins");
    record(3..4).await;
    let mut follow = log.follow(EventQuery::new().with_after(end.last.unwrap()));
    assert_eq!(follow.next().await.unwrap().envelope.event, trouble(3));
}

#[tokio::test]
async fn a_gap_is_told() {
    let stage = Stage::new();
    let log = stage.log(Retention::new());
    let subscription = stage.bus.subscribe(Filter::all()).await.unwrap();
    for number in 0..SUBSCRIBER_BUFFER + 7 {
        stage.bus.publish(trouble(number)).await.unwrap();
    }
    drop(stage.bus);
    log.record(subscription, std::future::pending()).await;
    let page = log.read(EventQuery::new().with_first(10_000)).await.unwrap();
    assert_eq!(page.entries.len(), SUBSCRIBER_BUFFER);
    assert_eq!(page.entries[0].missed_before, 7);
    assert_eq!(page.entries[0].envelope.event, trouble(7));
    assert!(page.entries[1..].iter().all(|entry| entry.missed_before == 0));
}

#[tokio::test]
async fn an_event_is_logged_once() {
    let stage = Stage::new();
    let log = stage.log(Retention::new());
    let envelope = stage.bus.publish(trouble(1)).await.unwrap();
    log.append(&[Arc::clone(&envelope)]).await.unwrap();
    log.append(&[envelope]).await.unwrap();
    assert_eq!(events(&log, EventQuery::new()).await, [trouble(1)]);
}

#[tokio::test]
async fn what_is_older_than_the_retention_goes() {
    let stage = Stage::new();
    let log = stage.log(Retention::new());
    log.append(&[stage.bus.publish(trouble(1)).await.unwrap()]).await.unwrap();
    stage.clock.advance(29 * DAY);
    log.append(&[stage.bus.publish(trouble(2)).await.unwrap()]).await.unwrap();
    assert_eq!(events(&log, EventQuery::new()).await, [trouble(1), trouble(2)]);
    stage.clock.advance(2 * DAY);
    log.append(&[stage.bus.publish(trouble(3)).await.unwrap()]).await.unwrap();
    assert_eq!(events(&log, EventQuery::new()).await, [trouble(2), trouble(3)]);
}

#[tokio::test]
async fn what_is_over_the_size_goes_oldest_first() {
    let stage = Stage::new();
    let limit = 20_000;
    let log = stage.log(Retention::new().with_max_size(limit));
    for round in 0..10 {
        let mut batch = Vec::new();
        for number in 0..50 {
            batch.push(stage.bus.publish(trouble(round * 50 + number)).await.unwrap());
        }
        log.append(&batch).await.unwrap();
        let page = log.read(EventQuery::new().with_first(10_000)).await.unwrap();
        let size: usize = page
            .entries
            .iter()
            .map(|it| 128 + serde_json::to_string(&it.envelope.event).unwrap().len())
            .sum();
        assert!(size <= 20_000, "{size} bytes after round {round}");
        assert_eq!(page.entries.last().unwrap().envelope.event, trouble(round * 50 + 49));
        if round > 3 {
            assert!(size > 19_000, "no more than needed goes: {size}");
        }
    }
}

#[tokio::test]
async fn an_event_of_a_newer_program_is_counted_not_fatal() {
    let stage = Stage::new();
    let log = stage.log(Retention::new());
    log.append(&[stage.bus.publish(trouble(1)).await.unwrap()]).await.unwrap();
    let change = |tx: &Transaction<'_>| {
        tx.execute(
            "INSERT INTO event_log (at_ms, topic, instance, sequence, missed_before, event)
             VALUES (0, 'health', 'new', 1, 0, '{\"type\": \"from_the_future\"}')",
            [],
        )?;
        Ok(())
    };
    log.tables.write("test", change).await.unwrap();
    let page = log.read(EventQuery::new()).await.unwrap();
    assert_eq!((page.entries.len(), page.unreadable), (1, 1));
}

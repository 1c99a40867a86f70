//! One event connection to an engine, shared by all restarters of that engine.
//!
//! Connected again, it asks for what it missed (`since` the last event) and says that there was a
//! gap. Who stopped a container is read here too: a stop or kill that came through Docker's API
//! shows as an event of its own before or after the `die`; a process that crashed, or that was
//! killed from outside, only dies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use tokio::sync::broadcast;

use super::engine::Engine;
use super::hub::{ContainerEvent, Note, REMEMBERED, What};
use super::life::{engine_time, exit, nanos};
use base::clock::ClockExt;
use base::resilience::{Backoff, BackoffPolicy};
use base::vocabulary::Verdict;
use base::{Error, ErrorKind, Result};

/// What the engine is asked to tell; the rest (each health check's exec!) stays with it.
const EVENTS: [&str; 10] = [
    "start",
    "die",
    "oom",
    "health_status",
    "stop",
    "kill",
    "destroy",
    "pause",
    "unpause",
    "rename",
];
const SECOND: i128 = 1_000_000_000;
/// A kill explains a death that follows within this time. A `docker stop` with a longer grace is
/// told by its `stop` event.
const KILL_EXPLAINS: i128 = 30 * SECOND;
/// Signals that are sent to end a program: INT, QUIT, ABRT, KILL, TERM. A HUP or USR1 is not.
const ENDING: [&str; 5] = ["2", "3", "6", "9", "15"];
/// How often an idle connection looks whether anybody still reads.
const LOOK: Duration = Duration::from_secs(10);

impl Engine {
    /// A receiver of everything from now on, and whether the connection stands already.
    pub(super) fn subscribe(self: &Arc<Self>) -> (broadcast::Receiver<Note>, bool) {
        let mut state = self.hub.state();
        if let Some(sender) = &state.sender {
            return (sender.subscribe(), state.connected);
        }
        let (sender, receiver) = broadcast::channel(1_024);
        state.sender = Some(sender.clone());
        state.connected = false;
        drop(state);
        tokio::spawn(listen(Arc::clone(self), sender));
        (receiver, false)
    }

    /// The time on the engine's clock: events that we ask for since then miss nothing, wherever
    /// the engine runs.
    async fn now(&self) -> Result<i128> {
        let info = self.read("docker.info", self.docker.info()).await?;
        info.system_time.as_deref().and_then(nanos).ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "the Docker Engine does not tell its time")
        })
    }

    /// What the engine still remembers of one container (its last 256 events) between two times
    /// of its own clock.
    pub(super) async fn history(
        &self,
        container: &str,
        since: i128,
        until: i128,
    ) -> Vec<EventMessage> {
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("container", vec![container.to_owned()]),
            ("event", vec!["kill".to_owned(), "stop".to_owned(), "destroy".to_owned()]),
        ]);
        let options = EventsOptionsBuilder::default()
            .since(&engine_time(since))
            .until(&engine_time(until))
            .filters(&filters)
            .build();
        let stream = self.docker.events(Some(options)).take(256);
        let mut found = Vec::new();
        let collect = async {
            let mut stream = stream;
            while let Some(Ok(message)) = stream.next().await {
                found.push(message);
            }
        };
        // An engine whose clock is behind `until` would keep the stream open until then.
        let deadline = self.clock.monotonic() + Duration::from_secs(2);
        let _ = self.clock.until(deadline, collect).await;
        found
    }
}

/// Whether these events say that a life that ended then was ended through Docker's API.
pub(super) fn stopped_in(history: &[EventMessage], finished: i128) -> Option<String> {
    history.iter().find_map(|message| {
        let at = i128::from(message.time_nano.unwrap_or(0));
        match message.action.as_deref()? {
            "stop" if at + SECOND >= finished => Some("it was stopped with docker stop".to_owned()),
            "kill" if finished - at <= KILL_EXPLAINS => killed(message),
            _ => None,
        }
    })
}

fn killed(message: &EventMessage) -> Option<String> {
    let signal = message.actor.as_ref()?.attributes.as_ref()?.get("signal")?;
    ENDING
        .contains(&signal.as_str())
        .then(|| format!("it was stopped through Docker (signal {signal})"))
}

async fn listen(engine: Arc<Engine>, sender: broadcast::Sender<Note>) {
    let mut backoff = Backoff::new(BackoffPolicy {
        initial: Duration::from_millis(250),
        factor: 2.0,
        max: Duration::from_secs(30),
        jitter: true,
    });
    let mut reader = Reader::default();
    let mut again = false;
    loop {
        if let Ok(now) = engine.now().await {
            backoff.succeeded();
            reader.since.get_or_insert(now);
            engine.hub.state().connected = true;
            // No reader is no error.
            let _ = sender.send(Note::Connected { again });
            follow(&engine, &sender, &mut reader).await;
            // `since` includes the event that we saw last.
            reader.seen = reader.since.unwrap_or(0);
            engine.hub.state().connected = false;
        }
        again = true;
        if nobody_reads(&engine, &sender) {
            return;
        }
        engine.clock.sleep(backoff.failed()).await;
        if nobody_reads(&engine, &sender) {
            return;
        }
    }
}

/// Under the lock, so that a subscriber either comes before, or starts a new connection.
fn nobody_reads(engine: &Engine, sender: &broadcast::Sender<Note>) -> bool {
    let mut state = engine.hub.state();
    if sender.receiver_count() > 0 {
        return false;
    }
    state.sender = None;
    true
}

/// Reads events until the connection ends, or nobody reads them.
async fn follow(engine: &Arc<Engine>, sender: &broadcast::Sender<Note>, reader: &mut Reader) {
    let filters = HashMap::from([("type", vec!["container"]), ("event", EVENTS.to_vec())]);
    let since = engine_time(reader.since.unwrap_or(0));
    let options = EventsOptionsBuilder::default().since(&since).filters(&filters).build();
    let mut stream = engine.docker.events(Some(options));
    loop {
        let next = tokio::select! {
            biased;
            next = stream.next() => next,
            () = engine.clock.sleep(LOOK) => {
                if sender.receiver_count() == 0 {
                    return;
                }
                continue;
            }
        };
        let message = match next {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                tracing::debug!(engine = %engine.host, %error, "docker events ended");
                return;
            }
            None => return,
        };
        let at = i128::from(message.time_nano.unwrap_or(0));
        if let Some(event) = reader.read(message, |container| engine.is_acting(container)) {
            engine.hub.remember(&event, at);
            let _ = sender.send(Note::Event(Arc::new(event)));
        }
    }
}

#[derive(Debug, Default)]
struct Trace {
    /// When somebody else sent a signal that ends programs, and which.
    killed: Option<(i128, String)>,
    out_of_memory: bool,
}

/// Makes sense of one event after the other.
#[derive(Debug, Default)]
struct Reader {
    /// From when on the engine is asked: its own time at first, then the last event's.
    since: Option<i128>,
    /// What a second connection repeats ends here.
    seen: i128,
    traces: HashMap<String, Trace>,
}

impl Reader {
    fn read(
        &mut self,
        message: EventMessage,
        ours: impl Fn(&str) -> bool,
    ) -> Option<ContainerEvent> {
        let at = i128::from(message.time_nano?);
        if at <= self.seen {
            return None;
        }
        self.since = Some(at);
        let told = killed(&message);
        let actor = message.actor?;
        let id = actor.id?;
        let attributes = actor.attributes.unwrap_or_default();
        if self.traces.len() >= REMEMBERED {
            self.traces.clear();
        }
        let ours = ours(&id);
        let trace = self.traces.entry(id.clone()).or_default();
        let what = match message.action.as_deref()? {
            "kill" => {
                trace.killed = told.filter(|_| !ours).map(|text| (at, text));
                return None;
            }
            "oom" => {
                trace.out_of_memory = true;
                return None;
            }
            "die" => {
                let code = attributes.get("exitCode").and_then(|code| code.parse().ok());
                let killed = trace.killed.take().filter(|(when, _)| at - when <= KILL_EXPLAINS);
                let exit = exit(code, trace.out_of_memory);
                What::Died { exit, person: killed.map(|(_, text)| text) }
            }
            "stop" if !ours => {
                What::Stopped { evidence: "it was stopped with docker stop".to_owned() }
            }
            "start" => {
                *trace = Trace::default();
                What::Started
            }
            "pause" => What::Paused,
            "unpause" => What::Unpaused,
            "destroy" => {
                self.traces.remove(&id);
                What::Removed { ours }
            }
            "rename" => What::Renamed {
                from: attributes.get("oldName")?.trim_start_matches('/').to_owned(),
            },
            // The verdict is part of the action's name.
            action => match action.strip_prefix("health_status")?.trim_start_matches([':', ' ']) {
                "healthy" => What::Health(Verdict::Pass),
                "unhealthy" => What::Health(Verdict::Fail),
                _ => return None,
            },
        };
        let name = attributes.get("name").cloned().unwrap_or_default();
        Some(ContainerEvent { id, name, attributes, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restart::Exit;

    fn message(at: i64, action: &str, facts: &[(&str, &str)]) -> EventMessage {
        let attributes: HashMap<&str, &str> = facts.iter().copied().collect();
        serde_json::from_value(serde_json::json!({
            "Type": "container", "Action": action, "timeNano": at * 1_000_000_000,
            "Actor": {"ID": "c1", "Attributes": attributes},
        }))
        .unwrap()
    }

    fn read(messages: Vec<EventMessage>, ours: bool) -> Vec<What> {
        let mut reader = Reader::default();
        messages
            .into_iter()
            .filter_map(|message| reader.read(message, |_| ours))
            .map(|event| event.what)
            .collect()
    }

    fn die(at: i64) -> EventMessage {
        message(at, "die", &[("exitCode", "137")])
    }

    #[test]
    fn a_death_without_a_kill_is_a_crash() {
        let exit = Exit::Signal(9);
        assert_eq!(read(vec![die(5)], false), [What::Died { exit, person: None }]);
    }

    #[test]
    fn a_kill_through_the_api_is_a_person_unless_it_is_ours_or_long_ago_or_a_hup() {
        let kill = |at, signal| message(at, "kill", &[("signal", signal)]);
        let person = |messages, ours| match &read(messages, ours)[..] {
            [What::Died { person, .. }] => person.is_some(),
            other => panic!("{other:?}"),
        };
        assert!(person(vec![kill(4, "9"), die(5)], false));
        assert!(person(vec![kill(4, "15"), die(5)], false));
        assert!(!person(vec![kill(4, "15"), die(5)], true));
        assert!(!person(vec![kill(4, "1"), die(5)], false));
        assert!(!person(vec![kill(4, "15"), die(40)], false));
        let start = || message(5, "start", &[]);
        let seen = read(vec![kill(4, "15"), start(), die(6)], false);
        assert_eq!(seen[1], What::Died { exit: Exit::Signal(9), person: None });
    }

    #[test]
    fn a_stop_with_a_long_grace_is_told_by_its_own_event() {
        let seen = read(
            vec![message(1, "kill", &[("signal", "15")]), die(100), message(100, "stop", &[])],
            false,
        );
        assert!(matches!(seen[0], What::Died { person: None, .. }), "{seen:?}");
        assert!(matches!(seen[1], What::Stopped { .. }), "{seen:?}");
    }

    #[test]
    fn health_is_matched_by_prefix_and_out_of_memory_remembered() {
        let seen = read(
            vec![
                message(1, "health_status: unhealthy", &[]),
                message(2, "health_status: healthy", &[]),
                message(3, "oom", &[]),
                die(4),
            ],
            false,
        );
        assert_eq!(seen[..2], [What::Health(Verdict::Fail), What::Health(Verdict::Pass)]);
        assert_eq!(seen[2], What::Died { exit: Exit::OutOfMemory, person: None });
    }

    #[test]
    fn history_is_read_the_same_way() {
        let finished = 100 * SECOND;
        let kill = |at, signal| message(at, "kill", &[("signal", signal)]);
        assert!(stopped_in(&[kill(99, "15")], finished).is_some());
        assert!(stopped_in(&[message(100, "stop", &[])], finished).is_some());
        assert!(stopped_in(&[kill(99, "1"), kill(60, "9")], finished).is_none());
        assert!(stopped_in(&[message(50, "stop", &[])], finished).is_none());
        assert!(stopped_in(&[], finished).is_none());
    }
}

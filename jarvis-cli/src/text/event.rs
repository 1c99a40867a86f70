//! An event as one line.

use jarvis_core::events::{Delivery, Envelope, Event, Gap};
use jarvis_core::vocabulary::{ActionOutcome, Cause, InstanceId, ServiceState, Severity, Trigger};

use super::counted;
use crate::printer::{Style, cut, human_duration, paint};

/// How much of a payload is shown, in characters; `--output jsonl` has all of it.
const PAYLOAD: usize = 240;

/// An event, or that some are missing here, as a line of a log.
pub(crate) fn delivered(delivery: &Delivery, colored: bool) -> String {
    let missing = match delivery {
        Delivery::Event(envelope) => return line(envelope, colored),
        Delivery::Missed(count) => format!("{} missing here", counted(*count, "event")),
        Delivery::Gap(Gap::StreamLost) => {
            "events may be missing here: the bus's server lost what it held".to_owned()
        }
        Delivery::Gap(_) => {
            "events may be missing here: the bus's server lost the newest that it held".to_owned()
        }
        _ => "the end: too slow for these events".to_owned(),
    };
    paint(&missing, Style::Warn, colored) + "\n"
}

/// An event as a line of a log: when, which service, what.
pub(crate) fn line(envelope: &Envelope, colored: bool) -> String {
    let (text, style) = describe(&envelope.event);
    let at = paint(&envelope.at.to_string(), Style::Faint, colored);
    let subject = match &envelope.event {
        Event::Message(_) | Event::Unknown(_) => envelope.topic.as_str(),
        event => subject(event),
    };
    format!("{at}  {subject}  {}\n", paint(&text, style, colored))
}

/// Who the event is about.
pub(crate) fn subject(event: &Event) -> &str {
    event.service().map_or("jarvis", |service| service.as_str())
}

/// The line, without time and service, and its look.
pub(crate) fn describe(event: &Event) -> (String, Style) {
    match event {
        Event::ServiceChanged { from, to, cause, .. } => {
            (format!("{from} → {to}{}", because(cause.as_ref())), Style::of_state(*to))
        }
        Event::PlatformChanged { from, to } => (
            format!(
                "platform {from} → {} ({} healthy, {} degraded, {} down, {} unknown)",
                to.state, to.healthy, to.degraded, to.down, to.unknown
            ),
            Style::of_state(to.state),
        ),
        Event::FlappingStarted { .. } => {
            ("flapping: changes too often to be believed".into(), Style::Warn)
        }
        Event::FlappingStopped { .. } => ("settled".into(), Style::Good),
        Event::IncidentOpened { .. }
        | Event::IncidentRecovered { .. }
        | Event::IncidentResolved { .. }
        | Event::Escalated { .. }
        | Event::StoppedByPerson { .. } => incident(event),
        Event::ActionHeld { .. }
        | Event::ActionSimulated { .. }
        | Event::ActionStarted { .. }
        | Event::ActionFinished { .. }
        | Event::VerifyPassed { .. }
        | Event::VerifyFailed { .. }
        | Event::RolledBack { .. }
        | Event::InstanceChanged { .. }
        | Event::InstanceExited { .. } => action(event),
        Event::Message(message) => (cut(&message.payload().to_string(), PAYLOAD), Style::Plain),
        Event::Unknown(unknown) => {
            let text =
                format!("{}, which this version does not know: {}", unknown.kind(), unknown.body);
            (cut(&text, PAYLOAD), Style::Faint)
        }
        _ => operator(event),
    }
}

fn because(cause: Option<&Cause>) -> String {
    cause.map_or_else(String::new, |cause| match cause.kind {
        Some(kind) => format!(": {} ({kind}, check {})", cause.message, cause.check),
        None => format!(": {} (check {})", cause.message, cause.check),
    })
}

/// A life as people name it: the start and the boot of a process, or all of a container's id, are
/// for programs.
fn life(instance: &InstanceId) -> String {
    let text = instance.as_str();
    match text.split_once(" started ") {
        Some((process, _)) => process.to_owned(),
        None => cut(text, 28),
    }
}

fn attempts(count: u32) -> String {
    match count {
        0 => "by itself".into(),
        1 => "after 1 attempt".into(),
        count => format!("after {count} attempts"),
    }
}

fn incident(event: &Event) -> (String, Style) {
    match event {
        Event::IncidentOpened { cause, because_of, .. } => {
            let root =
                because_of.as_ref().map_or_else(String::new, |on| format!(", because of {on}"));
            (format!("incident opened{}{root}", because(Some(cause))), Style::Bad)
        }
        Event::IncidentRecovered { after, attempts: count, .. } => (
            format!(
                "recovered {} in {}; watching it for a while",
                attempts(*count),
                human_duration(*after)
            ),
            Style::Good,
        ),
        Event::IncidentResolved { after, attempts: count, .. } => (
            format!(
                "resolved {}, {} from first down to stable",
                attempts(*count),
                human_duration(*after)
            ),
            Style::Good,
        ),
        Event::Escalated { attempts: count, reason, last_log_lines, .. } => {
            let log = last_log_lines
                .last()
                .map_or_else(String::new, |line| format!("; its log ends: {line}"));
            (
                format!("GIVEN UP {}: {reason}; a person is needed{log}", attempts(*count)),
                Style::Bad,
            )
        }
        Event::StoppedByPerson { evidence, .. } => {
            (format!("stopped by a person ({evidence}); left alone"), Style::Faint)
        }
        _ => operator(event),
    }
}

fn trigger(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Down { cause } => {
            cause.kind.map_or_else(|| "down".into(), |kind| kind.to_string())
        }
        Trigger::Manual { by } => format!("asked for by {by}"),
        Trigger::Dependency { on } => format!("{on} was restarted"),
        Trigger::HalfOpen => "one trial after the cooldown".into(),
        Trigger::Reconcile => "JARVIS had stopped it before its own restart".into(),
        Trigger::FirstStart => "first start".into(),
        _ => "another reason".into(),
    }
}

fn action(event: &Event) -> (String, Style) {
    match event {
        Event::ActionHeld { action, hold, .. } => {
            (format!("{action} held by {}: {}", hold.gate, hold.reason), Style::Warn)
        }
        Event::ActionSimulated { action, trigger: why, .. } => {
            (format!("dry run: would {action} now ({})", trigger(why)), Style::Warn)
        }
        Event::ActionStarted { action, trigger: why, attempt, .. } => {
            let count = if *attempt > 0 { format!(", attempt {attempt}") } else { String::new() };
            (format!("{action} begins ({}{count})", trigger(why)), Style::Bold)
        }
        Event::ActionFinished { outcome, took, message, .. } => {
            let (word, style) = match outcome {
                ActionOutcome::Done => ("done", Style::Plain),
                ActionOutcome::Failed => ("failed", Style::Bad),
                _ => ("outcome unknown", Style::Warn),
            };
            (format!("{word} in {}: {message}", human_duration(*took)), style)
        }
        Event::VerifyPassed { instance, proven, .. } => {
            let life = match instance {
                Some(instance) if *proven => format!("a new life, {}", life(instance)),
                _ => "not proven that a new life began".into(),
            };
            (format!("verified on fresh connections; {life}"), Style::Good)
        }
        Event::VerifyFailed { reason, .. } => {
            (format!("verification failed: {reason}"), Style::Bad)
        }
        Event::RolledBack { from, to, .. } => {
            let bad =
                from.as_ref().map_or_else(String::new, |from| format!("; {from} is pinned as bad"));
            (format!("rolled back to {to}{bad}"), Style::Warn)
        }
        Event::InstanceChanged { to, evidence, .. } => {
            (format!("a new life that is not ours, {} ({evidence})", life(to)), Style::Faint)
        }
        Event::InstanceExited { instance, exit, .. } => {
            let life = instance
                .as_ref()
                .map_or_else(String::new, |instance| format!(" ({})", life(instance)));
            (format!("exited: {exit}{life}"), Style::Bad)
        }
        _ => operator(event),
    }
}

fn operator(event: &Event) -> (String, Style) {
    match event {
        Event::OperatorStarted { mode, services, restartable } => {
            let mode = serde_json::to_value(mode)
                .ok()
                .and_then(|mode| mode.as_str().map(str::to_owned))
                .unwrap_or_default();
            let many = super::services(*services);
            (
                format!("watching {many}, may restart {restartable} of them (mode {mode})"),
                Style::Bold,
            )
        }
        Event::OperatorStopped { reason } => (format!("stopped: {reason}"), Style::Bold),
        Event::LeaseAcquired { token, .. } => {
            (format!("holds the lease (token {token}): may act"), Style::Faint)
        }
        Event::LeaseLost { reason } => {
            (format!("lost the lease: {reason}; watches only"), Style::Warn)
        }
        Event::ActingChanged { acting: true, reason } => {
            (format!("acts again: {reason}"), Style::Good)
        }
        Event::ActingChanged { acting: false, reason } => {
            (format!("holds every action: {reason}"), Style::Warn)
        }
        Event::MaintenanceChanged { open, services } => {
            let word = if *open { "begins" } else { "is over" };
            (format!("maintenance {word} for {}", services.join(", ")), Style::Faint)
        }
        Event::SelfSuspected { suspected: true, reason } => {
            (format!("suspects itself: {reason}"), Style::Warn)
        }
        Event::SelfSuspected { suspected: false, reason } => {
            (format!("trusts itself again: {reason}"), Style::Good)
        }
        Event::ServiceReset { by, .. } => {
            (format!("budget and cooldown cleared by {by}"), Style::Plain)
        }
        Event::ConfigReloaded { changes } => {
            (format!("configuration reloaded: {}", changes.join("; ")), Style::Plain)
        }
        Event::ConfigRefused { reason } => {
            (format!("configuration refused, the old one stays: {reason}"), Style::Bad)
        }
        Event::OperatorTrouble { severity, message } => {
            let style = if *severity == Severity::Critical { Style::Bad } else { Style::Warn };
            (format!("trouble: {message}"), style)
        }
        Event::AlertDelivered { sink, key } => (format!("{sink} was told of {key}"), Style::Warn),
        Event::AlertFailed { sink, key, reason, given_up } => {
            let word = if *given_up { "given up" } else { "not delivered yet" };
            (format!("alert {key} {word} through {sink}: {reason}"), Style::Warn)
        }
        _ => (format!("{event:?}"), Style::Plain),
    }
}

/// Is the event worth a line beside a table that shows the states? What is known already, or said
/// by the next event too, is left out.
pub(crate) const fn is_noteworthy(event: &Event) -> bool {
    !matches!(
        event,
        Event::LeaseAcquired { .. }
            | Event::ServiceChanged { from: ServiceState::Unknown, .. }
            | Event::PlatformChanged { from: ServiceState::Unknown, .. }
            | Event::ActionStarted { trigger: Trigger::FirstStart, .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use jarvis_core::vocabulary::{CheckName, FailureKind, IncidentId, ServiceId};
    use std::time::Duration;

    #[test]
    fn lines_say_what_happened_and_why() {
        let service = ServiceId::new("vocal-coach").unwrap();
        let cause = Cause {
            check: CheckName::new("http").unwrap(),
            kind: Some(FailureKind::Refused),
            message: "connection refused".into(),
        };
        let event = Event::ServiceChanged {
            service: service.clone(),
            from: ServiceState::Healthy,
            to: ServiceState::Down,
            cause: Some(cause),
        };
        assert_eq!(
            describe(&event),
            ("healthy → down: connection refused (refused, check http)".into(), Style::Bad)
        );
        let event = Event::IncidentResolved {
            incident: IncidentId::new("i-1").unwrap(),
            service,
            after: Duration::from_secs(75),
            attempts: 1,
        };
        assert_eq!(
            describe(&event).0,
            "resolved after 1 attempt, 1 min 15 s from first down to stable"
        );
    }
}

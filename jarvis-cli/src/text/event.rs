//! An event as one line.

use jarvis_core::events::{Delivery, Envelope, Event, Gap};
use jarvis_core::vocabulary::{
    ActionKind, ActionOutcome, Cause, InstanceId, ServiceState, Severity, Trigger,
};

use super::counted;
use super::table::cut;
use super::time::human_duration;
use crate::printer::{Style, paint};

/// How much of a payload is shown, in characters; `--output jsonl` has all of it.
const PAYLOAD: usize = 240;

/// An event, or a note that some are missing here, as a line of a log.
pub(crate) fn delivered(delivery: &Delivery, colored: bool) -> String {
    let missing = match delivery {
        Delivery::Event(envelope) => return line(envelope, colored),
        Delivery::Missed(count) => format!("{} missing here", counted(*count, "event")),
        Delivery::Gap(Gap::StreamLost) => {
            "events may be missing here: the bus's Redis lost its data".to_owned()
        }
        Delivery::Gap(_) => {
            "events may be missing here: the bus's Redis lost its newest data".to_owned()
        }
        _ => "disconnected: the events came faster than they were read".to_owned(),
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

/// The text without time and service, and its style.
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
            ("flapping: it changes state too often".into(), Style::Warn)
        }
        Event::FlappingStopped { .. } => ("no longer flapping".into(), Style::Good),
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
            let text = format!("{} (unknown to this version): {}", unknown.kind(), unknown.body);
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

/// An instance as people name it, without the start and boot of a process or the end of a
/// container's id.
fn short_name(instance: &InstanceId) -> String {
    let text = instance.as_str();
    match text.split_once(" started ") {
        Some((process, _)) => process.to_owned(),
        None => cut(text, 28),
    }
}

fn attempts(count: u32) -> String {
    match count {
        0 => "without an action".into(),
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
                "recovered {} in {}; observing whether it stays healthy",
                attempts(*count),
                human_duration(*after)
            ),
            Style::Good,
        ),
        Event::IncidentResolved { after, attempts: count, .. } => (
            format!("resolved {}, {} after it went down", attempts(*count), human_duration(*after)),
            Style::Good,
        ),
        Event::Escalated { attempts: count, reason, last_log_lines, .. } => {
            let log = last_log_lines
                .last()
                .map_or_else(String::new, |line| format!("; last log line: {line}"));
            (
                format!("ESCALATED {}: {reason}; manual action needed{log}", attempts(*count)),
                Style::Bad,
            )
        }
        Event::StoppedByPerson { evidence, .. } => {
            (format!("stopped by a person ({evidence}); it is not restarted"), Style::Faint)
        }
        _ => operator(event),
    }
}

fn trigger(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Down { cause } => {
            cause.kind.map_or_else(|| "down".into(), |kind| kind.to_string())
        }
        Trigger::Manual { by } => format!("requested by {by}"),
        Trigger::Dependency { on } => format!("{on} was restarted"),
        Trigger::HalfOpen => "trial after the cooldown".into(),
        Trigger::Reconcile => "JARVIS had stopped it before JARVIS itself restarted".into(),
        Trigger::FirstStart => "first start".into(),
        _ => "another reason".into(),
    }
}

fn under_way(action: &ActionKind) -> String {
    match action {
        ActionKind::Restart => "restarting".into(),
        ActionKind::Start => "starting".into(),
        ActionKind::Stop => "stopping".into(),
        ActionKind::RollBack { to } => format!("rolling back to {to}"),
    }
}

fn action(event: &Event) -> (String, Style) {
    match event {
        Event::ActionHeld { action, hold, .. } => {
            (format!("{action} on hold ({}): {}", hold.gate, hold.reason), Style::Warn)
        }
        Event::ActionSimulated { action, trigger: why, .. } => {
            (format!("dry run: would {action} now ({})", trigger(why)), Style::Warn)
        }
        Event::ActionStarted { action, trigger: why, attempt, .. } => {
            let count = if *attempt > 0 { format!(", attempt {attempt}") } else { String::new() };
            (format!("{} ({}{count})", under_way(action), trigger(why)), Style::Bold)
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
            let instance = match instance {
                Some(instance) if *proven => format!("new instance, {}", short_name(instance)),
                _ => "whether the instance is new is not known".into(),
            };
            (format!("verified on fresh connections: {instance}"), Style::Good)
        }
        Event::VerifyFailed { reason, .. } => {
            (format!("verification failed: {reason}"), Style::Bad)
        }
        Event::RolledBack { from, to, .. } => {
            let bad =
                from.as_ref().map_or_else(String::new, |from| format!("; {from} is marked as bad"));
            (format!("rolled back to {to}{bad}"), Style::Warn)
        }
        Event::InstanceChanged { to, evidence, .. } => (
            format!("new instance, not started by JARVIS: {} ({evidence})", short_name(to)),
            Style::Faint,
        ),
        Event::InstanceExited { instance, exit, .. } => {
            let instance = instance
                .as_ref()
                .map_or_else(String::new, |instance| format!(" ({})", short_name(instance)));
            (format!("exited: {exit}{instance}"), Style::Bad)
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
                format!("watching {many}, {restartable} of them restartable (mode {mode})"),
                Style::Bold,
            )
        }
        Event::OperatorStopped { reason } => (format!("stopped: {reason}"), Style::Bold),
        Event::LeaseAcquired { token, .. } => {
            (format!("acquired the lease (token {token}), actions are possible"), Style::Faint)
        }
        Event::LeaseLost { reason } => {
            (format!("lost the lease: {reason}; only watching"), Style::Warn)
        }
        Event::ActingChanged { acting: true, reason } => {
            (format!("actions resumed: {reason}"), Style::Good)
        }
        Event::ActingChanged { acting: false, reason } => {
            (format!("all actions on hold: {reason}"), Style::Warn)
        }
        Event::MaintenanceChanged { open, services } => {
            let word = if *open { "started" } else { "ended" };
            (format!("maintenance {word} for {}", services.join(", ")), Style::Faint)
        }
        Event::SelfSuspected { suspected: true, reason } => {
            (format!("the cause may be this machine or its network: {reason}"), Style::Warn)
        }
        Event::SelfSuspected { suspected: false, reason } => {
            (format!("this machine and its network look fine again: {reason}"), Style::Good)
        }
        Event::ServiceReset { by, .. } => {
            (format!("budget and cooldown cleared by {by}"), Style::Plain)
        }
        Event::ConfigReloaded { changes } => {
            (format!("configuration reloaded: {}", changes.join("; ")), Style::Plain)
        }
        Event::ConfigRefused { reason } => {
            (format!("configuration rejected, the current one stays: {reason}"), Style::Bad)
        }
        Event::OperatorTrouble { severity, message } => {
            let style = if *severity == Severity::Critical { Style::Bad } else { Style::Warn };
            (format!("problem: {message}"), style)
        }
        Event::AlertDelivered { sink, key } => {
            (format!("alert delivered through {sink}: {key}"), Style::Warn)
        }
        Event::AlertFailed { sink, key, reason, given_up } => {
            let next = if *given_up { "giving up" } else { "retrying" };
            (format!("alert failed through {sink}, {next}: {reason} ({key})"), Style::Warn)
        }
        _ => (format!("{event:?}"), Style::Plain),
    }
}

/// Is the event worth a line beside a table of the states? Not if the table or the next event says
/// the same.
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
        assert_eq!(describe(&event).0, "resolved after 1 attempt, 1 min 15 s after it went down");
    }
}

//! What can hold an action back, asked in the order of [`Gate`], each with its reason.

use std::time::Duration;

use super::record::Service;
use super::{AFTER_SUSPEND, Machine};
use crate::restart::RunState;
use base::clock::Stamp;
use base::units::format_duration;
use base::vocabulary::{ActionKind, FailureKind, Gate, Hold, Mode, ServiceState, Trigger};

/// Something that is to be done, before it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) action: ActionKind,
    pub(super) trigger: Trigger,
}

impl Wanted {
    /// The restarter acts because the service is down, not because somebody wants it so.
    const fn heals(&self) -> bool {
        matches!(self.trigger, Trigger::Down { .. } | Trigger::HalfOpen)
    }

    pub(super) const fn manual(&self) -> bool {
        matches!(self.trigger, Trigger::Manual { .. })
    }

    /// Does it count as a restart?
    pub(super) const fn counted(&self) -> bool {
        matches!(
            self.trigger,
            Trigger::Down { .. } | Trigger::HalfOpen | Trigger::Dependency { .. }
        )
    }
}

fn hold(gate: Gate, reason: impl Into<String>) -> Option<Hold> {
    Some(Hold { gate, reason: reason.into(), until: None })
}

fn hold_for(gate: Gate, reason: impl Into<String>, now: &Stamp, left: Duration) -> Option<Hold> {
    Some(Hold { gate, reason: reason.into(), until: Some(now.wall + left) })
}

impl Machine {
    /// The first gate that is closed.
    pub(super) fn gate(&self, service: &Service, wanted: &Wanted, now: &Stamp) -> Option<Hold> {
        self.kill_gate()
            .or_else(|| self.mode_gate(wanted, now))
            .or_else(|| self.lease_gate())
            .or_else(|| self.allow_gate(service, wanted))
            .or_else(|| self.circumstances(service, wanted, now))
            .or_else(|| self.concurrency_gate(service, wanted))
    }

    /// The gates that hold every service.
    pub(super) fn global_gate(&self, now: &Stamp) -> Option<Hold> {
        self.kill_gate()
            .or_else(|| match self.settings.mode {
                Mode::Observe => hold(Gate::Mode, "mode = \"observe\": no actions are taken"),
                Mode::DryRun => hold(Gate::Mode, "dry-run: no actions are taken"),
                Mode::Act => None,
            })
            .or_else(|| self.pause_gate(now))
            .or_else(|| self.lease_gate())
    }

    fn kill_gate(&self) -> Option<Hold> {
        let reason = self.kill.as_ref()?;
        hold(Gate::KillSwitch, format!("the kill switch is on: {reason}"))
    }

    /// A timed pause that is over holds nothing, also before the tick that takes it back.
    fn pause_gate(&self, now: &Stamp) -> Option<Hold> {
        let by = self.globals.paused.as_ref()?;
        let Some(span) = &self.globals.paused_for else {
            return hold(Gate::Mode, format!("paused by {by}; `jarvis resume` lets it act again"));
        };
        let left = span.left(now);
        if left.is_zero() {
            return None;
        }
        let reason =
            format!("paused by {by} until {}; `jarvis resume` ends it earlier", now.wall + left);
        hold_for(Gate::Mode, reason, now, left)
    }

    fn mode_gate(&self, wanted: &Wanted, now: &Stamp) -> Option<Hold> {
        match self.settings.mode {
            Mode::Observe => return hold(Gate::Mode, "mode = \"observe\": no actions are taken"),
            Mode::DryRun if wanted.manual() => {
                return hold(Gate::Mode, "dry-run: no actions are taken");
            }
            _ => {}
        }
        if self.settings.commands_only && !wanted.manual() {
            return hold(Gate::Mode, "only the given command is carried out");
        }
        if self.shutting_down {
            return hold(Gate::Mode, "JARVIS is being stopped");
        }
        self.pause_gate(now)
    }

    fn lease_gate(&self) -> Option<Hold> {
        if self.held.is_some() {
            return None;
        }
        hold(Gate::Lease, "another operator holds the lease, or the lease store is unreachable")
    }

    fn allow_gate(&self, service: &Service, wanted: &Wanted) -> Option<Hold> {
        if !service.plan.actionable {
            let reason = "it has no restart section, so it is only watched";
            return hold(Gate::AllowList, reason);
        }
        if self.settings.allow.permits(&service.plan.id, &wanted.action) {
            return None;
        }
        hold(
            Gate::AllowList,
            format!("[allow] leaves out {} of {}", wanted.action, service.plan.id),
        )
    }

    /// What a person who asks by hand knows better.
    fn circumstances(&self, service: &Service, wanted: &Wanted, now: &Stamp) -> Option<Hold> {
        if wanted.manual() {
            return None;
        }
        self.maintenance_gate(service, now)
            .or_else(|| stopped_gate(service))
            .or_else(|| failure_gate(service, wanted))
            .or_else(|| never_healthy_gate(service, wanted))
            .or_else(|| native_gate(service, wanted, now))
            .or_else(|| self.dependency_gate(service, wanted, now))
            .or_else(|| flapping_gate(service))
            .or_else(|| self.suspicion_gate(service, now))
            .or_else(|| cooldown_gate(service, now))
            .or_else(|| backoff_gate(service, now))
            .or_else(|| incident_budget_gate(service, wanted))
            .or_else(|| retry_gate(service, now))
    }

    /// An open window, from the calendar or opened by a person.
    pub(super) fn maintenance_gate(&self, service: &Service, now: &Stamp) -> Option<Hold> {
        let windows = self.globals.one_off.iter();
        let one_off = windows
            .filter_map(|window| Some((window.open_until(&service.plan.id, now)?, window)))
            .max_by_key(|(until, _)| *until);
        let until = service.live.maintenance.max(one_off.as_ref().map(|(until, _)| *until))?;
        let who = match one_off {
            Some((end, window)) if end == until => format!(", opened by {}", window.opened_by()),
            _ => String::new(),
        };
        let reason = format!("a maintenance window is open until {until}{who}");
        Some(Hold { gate: Gate::Maintenance, reason, until: Some(until) })
    }

    fn dependency_gate(&self, service: &Service, wanted: &Wanted, now: &Stamp) -> Option<Hold> {
        service.plan.depends_on.iter().find_map(|on| {
            let parent = self.services.get(on)?;
            if parent.record.phase.in_flight() {
                return hold(Gate::Dependency, format!("{on} is being restarted; it goes first"));
            }
            if parent.is_down() || parent.record.stopped.is_some() || parent.unborn() {
                return hold(
                    Gate::Dependency,
                    format!("it depends on {on}, which does not run well; {on} goes first"),
                );
            }
            if wanted.heals() && service.live.failing.contains(on) {
                return hold(
                    Gate::Dependency,
                    format!("it depends on {on}, which fails a fresh check"),
                );
            }
            let back = parent.live.up_since.as_ref().map(|since| since.age(now));
            let grace = self.settings.dependency_grace;
            if wanted.heals() && !service.exited() && back.is_some_and(|back| back < grace) {
                let left = grace - back.unwrap_or_default();
                let reason = format!(
                    "{on} has just recovered; its dependents get {} to follow",
                    format_duration(grace)
                );
                return hold_for(Gate::Dependency, reason, now, left);
            }
            let first = matches!(wanted.trigger, Trigger::FirstStart);
            if first
                && parent.live.health.state == ServiceState::Unknown
                && parent.record.phase.act().is_none()
                && !parent.live.waited_for(now, grace)
            {
                return hold(
                    Gate::Dependency,
                    format!("it depends on {on}, which was not seen well yet"),
                );
            }
            None
        })
    }

    fn suspicion_gate(&self, service: &Service, now: &Stamp) -> Option<Hold> {
        if let Some(woke) = &self.woke {
            let left = AFTER_SUSPEND.saturating_sub(woke.age(now));
            if !left.is_zero() {
                let reason = "the machine has just woken up; fresh checks run first";
                return hold_for(Gate::SelfSuspicion, reason, now, left);
            }
        }
        let reason = self.suspicion.reason().filter(|_| service.suspects_self())?;
        hold(Gate::SelfSuspicion, format!("JARVIS suspects its own network or machine: {reason}"))
    }

    fn concurrency_gate(&self, service: &Service, wanted: &Wanted) -> Option<Hold> {
        if !wanted.counted() {
            return None;
        }
        let busy = |other: &&Service| {
            other.plan.id != service.plan.id
                && (other.record.phase.in_flight() || other.live.reserving.is_some())
        };
        let max = self.settings.limits.max_concurrent_restarts;
        let under_way = self.services.values().filter(busy).count();
        if u32::try_from(under_way).unwrap_or(u32::MAX) < max {
            return None;
        }
        hold(
            Gate::GlobalBudget,
            format!("{under_way} services are being restarted; the limit is {max} at once"),
        )
    }
}

impl Service {
    /// It waits for its first start.
    pub(super) fn unborn(&self) -> bool {
        self.live.look.as_ref().is_some_and(|look| look.state == RunState::NotStarted)
    }
}

impl super::record::Live {
    /// Its first look is so long ago that waiting for its checks makes no sense any more.
    fn waited_for(&self, now: &Stamp, grace: Duration) -> bool {
        self.first_seen.as_ref().is_some_and(|seen| seen.age(now) >= grace)
    }
}

fn stopped_gate(service: &Service) -> Option<Hold> {
    let evidence = service.record.stopped.as_ref()?;
    hold(Gate::StoppedByPerson, format!("a person stopped it: {evidence}"))
}

fn failure_gate(service: &Service, wanted: &Wanted) -> Option<Hold> {
    if !wanted.heals() || service.exited() {
        return None;
    }
    if service.live.look.as_ref().is_some_and(|look| look.state == RunState::Missing) {
        let reason = "its platform does not know it; check the name in the configuration";
        return hold(Gate::FailureKind, reason);
    }
    let cause = service.live.health.cause.as_ref()?;
    let kind = cause.kind.filter(|kind| !kind.may_restart())?;
    let advice = match kind {
        FailureKind::Dns => "a restart does not fix a name",
        FailureKind::Tls => "a restart does not fix a certificate",
        FailureKind::Auth => "a restart does not fix credentials",
        FailureKind::Resource => "a restart does not free the resource for long",
        FailureKind::Missing => "what it looks at does not exist",
        _ => "a restart does not fix that",
    };
    hold(Gate::FailureKind, format!("{kind}: {advice}; {}", cause.message))
}

fn never_healthy_gate(service: &Service, wanted: &Wanted) -> Option<Hold> {
    if !wanted.heals() || service.record.ever_passed || service.exited() {
        return None;
    }
    let message = service.live.health.cause.as_ref().map_or("", |cause| cause.message.as_str());
    hold(
        Gate::NeverHealthy,
        format!("its checks have never passed: check the configuration ({message})"),
    )
}

/// Where the platform restarts by itself it goes first, for a while: with what exited, and with
/// what it has just restarted.
fn native_gate(service: &Service, wanted: &Wanted, now: &Stamp) -> Option<Hold> {
    let look = service.live.look.as_ref().filter(|look| look.native_restart)?;
    let incident = service.record.incident.as_ref().filter(|_| wanted.heals())?;
    let young = look
        .started_at
        .is_some_and(|at| now.wall.saturating_since(at) < service.plan.policy.native_grace);
    if look.state == RunState::Running && !young {
        return None;
    }
    let left = service.plan.policy.native_grace.saturating_sub(incident.opened.age(now));
    if left.is_zero() {
        return None;
    }
    hold_for(Gate::NativePolicy, "its platform restarts it by itself and goes first", now, left)
}

/// A restart does not cure what comes and goes; but what has exited is simply gone.
fn flapping_gate(service: &Service) -> Option<Hold> {
    if !service.live.health.flapping
        || service.plan.policy.restart_when_flapping
        || service.exited()
    {
        return None;
    }
    hold(
        Gate::Flapping,
        "it is flapping, which a restart does not fix; set restart_when_flapping to try anyway",
    )
}

fn cooldown_gate(service: &Service, now: &Stamp) -> Option<Hold> {
    let open = service.record.breaker.as_ref()?;
    let left = open.cooldown.saturating_sub(open.since.age(now));
    if left.is_zero() {
        return None;
    }
    hold_for(
        Gate::Cooldown,
        "JARVIS gave up on it for now; one trial follows the cooldown",
        now,
        left,
    )
}

fn backoff_gate(service: &Service, now: &Stamp) -> Option<Hold> {
    let super::record::Phase::BackingOff { since, wait } = &service.record.phase else {
        return None;
    };
    hold_for(
        Gate::Backoff,
        "the last attempt failed; the next one is due later",
        now,
        wait.saturating_sub(since.age(now)),
    )
}

/// The cap of one incident. Whoever asks escalates.
fn incident_budget_gate(service: &Service, wanted: &Wanted) -> Option<Hold> {
    let incident = service.record.incident.as_ref()?;
    let max = service.plan.policy.max_restarts;
    if !wanted.counted() || wanted.trigger == Trigger::HalfOpen || incident.since_reset < max {
        return None;
    }
    hold(Gate::Budget, format!("{} attempts in this incident did not help", incident.since_reset))
}

/// The ledger refused and said when to come back.
fn retry_gate(service: &Service, now: &Stamp) -> Option<Hold> {
    let (since, wait) = service.live.retry.as_ref()?;
    let left = wait.saturating_sub(since.age(now));
    if left.is_zero() {
        return None;
    }
    service
        .live
        .hold
        .clone()
        .filter(|hold| matches!(hold.gate, Gate::Budget | Gate::GlobalBudget))
        .or_else(|| hold_for(Gate::GlobalBudget, "the restart ledger said to wait", now, left))
}

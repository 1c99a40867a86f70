//! What people ask for.

use std::time::Duration;

use super::Machine;
use super::gates::Wanted;
use super::input::Effect;
use super::record::{Manual, OneOff, Span, Ticket};
use crate::operator::command::{Action, Command, Reply};
use crate::operator::settings::matches_any;
use base::clock::{Stamp, WallTime};
use base::events::Event;
use base::vocabulary::{ActionKind, Gate, ServiceId, Trigger};
use base::{Error, ErrorKind, Result, names};

impl Machine {
    pub(super) fn command(&mut self, ticket: Ticket, command: Command, now: &Stamp) {
        let asked_by = command.asked_by();
        let Command { action, by, reason } = command;
        let answer = match action {
            Action::Restart { service } => {
                return self.manual(ticket, &service, ActionKind::Restart, asked_by);
            }
            Action::Stop { service } => {
                return self.manual(ticket, &service, ActionKind::Stop, asked_by);
            }
            Action::Start { service } => {
                return self.manual(ticket, &service, ActionKind::Start, asked_by);
            }
            Action::Reset { service } => self.reset(&service, asked_by),
            Action::Pause { lasting } => self.pause(asked_by, lasting, now),
            Action::Resume => self.resume(&asked_by),
            Action::Maintain { services, lasting } => {
                let span = Span { since: now.clone(), duration: lasting };
                self.open_window(OneOff { id: 0, services, span, by, reason }, now)
            }
            Action::EndMaintenance { window } => self.close_windows(window, &asked_by),
        };
        self.answer(ticket, answer);
    }

    fn answer(&mut self, ticket: Ticket, answer: Result<Reply>) {
        self.effects.push(Effect::Answer { ticket, answer });
    }

    fn known(&self, id: &ServiceId) -> Result<()> {
        if self.service(id).is_some_and(|service| !service.live.removed) {
            return Ok(());
        }
        let valid: Vec<&str> = self
            .services
            .values()
            .filter(|service| !service.live.removed)
            .map(|service| service.plan.id.as_str())
            .collect();
        Err(names::not_found("service", id.as_str(), &valid).with_operation("operator.command"))
    }

    fn leading(&self) -> Result<()> {
        if self.held.is_some() {
            return Ok(());
        }
        let message = "another operator holds the lease; send the command to that instance";
        Err(Error::new(ErrorKind::Forbidden, message).with_context("gate", Gate::Lease))
    }

    fn manual(&mut self, ticket: Ticket, id: &ServiceId, action: ActionKind, by: String) {
        let id = self.name(id);
        if let Err(error) = self.known(&id) {
            return self.answer(ticket, Err(error));
        }
        let Some(service) = self.services.get_mut(&id) else { return };
        if service.record.phase.in_flight() || service.live.manual.is_some() {
            let message = format!("{id} is being acted on; wait until that is verified");
            let error = Error::new(ErrorKind::Conflict, message);
            return self.answer(ticket, Err(error.with_operation("operator.command")));
        }
        service.outdate();
        service.live.manual = Some(Manual { ticket, action, by });
        if self.held.is_none() {
            let error = self.leading().err();
            self.refuse_manual(&id, error);
        }
    }

    pub(super) fn refuse_manual(&mut self, id: &ServiceId, error: Option<Error>) {
        let manual = self.services.get_mut(id).and_then(|service| service.live.manual.take());
        if let (Some(manual), Some(error)) = (manual, error) {
            self.answer(manual.ticket, Err(error));
        }
    }

    /// Asks the gates that hold for people too, looks, and acts.
    pub(super) fn decide_manual(&mut self, id: &ServiceId, now: &Stamp) {
        let Some(service) = self.services.get(id) else { return };
        let Some(manual) = &service.live.manual else { return };
        let trigger = Trigger::Manual { by: manual.by.clone() };
        let wanted = Wanted { action: manual.action.clone(), trigger };
        if let Some(hold) = self.gate(service, &wanted, now) {
            let error = Error::new(ErrorKind::Forbidden, hold.reason)
                .with_operation("operator.command")
                .with_context("gate", hold.gate);
            return self.refuse_manual(id, Some(error));
        }
        if service.needs_look() || service.live.looking.is_some() {
            return self.observe(id);
        }
        let ticket = manual.ticket;
        let intent = self.new_intent(id, now);
        if let Some(service) = self.services.get_mut(id) {
            service.live.manual = None;
            service.live.reserving = None;
        }
        self.begin(id, intent.clone(), wanted, now);
        self.answer(ticket, Ok(Reply::Accepted { service: id.clone(), intent }));
    }

    fn reset(&mut self, id: &ServiceId, by: String) -> Result<Reply> {
        let id = self.name(id);
        self.known(&id)?;
        self.leading()?;
        if let Some(service) = self.services.get_mut(&id) {
            service.record.breaker = None;
            service.record.announced.clear();
            service.live.retry = None;
            service.live.hold = None;
            if matches!(service.record.phase, super::record::Phase::BackingOff { .. }) {
                service.record.phase = super::record::Phase::Idle;
                service.live.look_fresh = false;
            }
            if let Some(incident) = &mut service.record.incident {
                incident.since_reset = 0;
                incident.failures = 0;
                incident.escalated = false;
            }
        }
        self.effects.push(Effect::ResetLedger { service: id.clone() });
        self.events.push(Event::ServiceReset { service: id.clone(), by });
        Ok(Reply::Done { message: format!("the budget and the breaker of {id} are cleared") })
    }

    fn pause(&mut self, by: String, lasting: Option<Duration>, now: &Stamp) -> Result<Reply> {
        self.leading()?;
        if lasting.is_some_and(|lasting| lasting.is_zero()) {
            let message = "a pause lasts longer than 0s; without a time it lasts until `resume`";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let until = lasting.map(|lasting| format!(" until {}", now.wall + lasting));
        let until = until.unwrap_or_default();
        let message = format!("paused by {by}{until}; what is under way is finished");
        if self.globals.paused.is_none() {
            self.events.push(Event::ActingChanged { acting: false, reason: message.clone() });
        }
        self.globals.paused = Some(by);
        self.globals.paused_for = lasting.map(|duration| Span { since: now.clone(), duration });
        Ok(Reply::Done { message })
    }

    fn end_pause(&mut self, reason: String) {
        self.globals.paused_for = None;
        if self.globals.paused.take().is_some() {
            let acting = self.kill.is_none();
            self.events.push(Event::ActingChanged { acting, reason });
        }
    }

    fn resume(&mut self, by: &str) -> Result<Reply> {
        self.leading()?;
        self.end_pause(format!("resumed by {by}"));
        let message = match &self.kill {
            None => "acting again".to_owned(),
            Some(reason) => format!("no longer paused, but the kill switch is on: {reason}"),
        };
        Ok(Reply::Done { message })
    }

    fn open_window(&mut self, mut window: OneOff, now: &Stamp) -> Result<Reply> {
        self.leading()?;
        if window.span.duration.is_zero() || window.services.is_empty() {
            let message = "a maintenance window needs services and a duration over 0s";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        for pattern in &window.services {
            self.covers_something(pattern)?;
        }
        self.globals.windows += 1;
        window.id = self.globals.windows;
        let status = window.status(now);
        self.globals.one_off.push(window);
        Ok(Reply::Opened { window: status })
    }

    /// A window over nothing is a slip of the pen.
    fn covers_something(&self, pattern: &str) -> Result<()> {
        if let Ok(id) = ServiceId::new(pattern) {
            return self.known(&id);
        }
        let patterns = [pattern.to_owned()];
        if pattern == "*" || self.services.keys().any(|id| matches_any(&patterns, id)) {
            return Ok(());
        }
        let message = format!("{pattern:?} matches no service");
        Err(Error::new(ErrorKind::NotFound, message).with_operation("operator.command"))
    }

    fn close_windows(&mut self, window: Option<u64>, by: &str) -> Result<Reply> {
        self.leading()?;
        let Some(id) = window else {
            let closed = std::mem::take(&mut self.globals.one_off).len();
            let message = format!("{closed} maintenance windows closed by {by}");
            return Ok(Reply::Done { message });
        };
        let before = self.globals.one_off.len();
        self.globals.one_off.retain(|open| open.id != id);
        if self.globals.one_off.len() == before {
            let message = format!("no maintenance window {id} is open");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        Ok(Reply::Done { message: format!("maintenance window {id} closed by {by}") })
    }

    /// Takes in which windows of the calendar opened or closed.
    pub(super) fn calendar(&mut self, changes: Vec<(ServiceId, Option<WallTime>)>) {
        for (id, until) in changes {
            if let Some(service) = self.service_mut(&id) {
                service.live.maintenance = until;
            }
        }
    }

    /// Takes back what a person did for a time that is over.
    pub(super) fn end_what_is_over(&mut self, now: &Stamp) {
        if self.held.is_none() {
            return;
        }
        self.globals.one_off.retain(|window| !window.span.left(now).is_zero());
        if self.globals.paused_for.as_ref().is_some_and(|span| span.left(now).is_zero()) {
            self.end_pause("the pause is over".to_owned());
        }
    }
}

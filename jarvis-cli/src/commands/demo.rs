//! `jarvis demo`: the real loop on real processes. The demo only kills them; what it shows is what
//! the loop does.

mod players;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::{ClockExt, Monotonic, SharedClock, WallTime};
use jarvis_core::config::Source;
use jarvis_core::events::{Envelope, Event};
use jarvis_core::jarvis::Jarvis;
use jarvis_core::operator::ServiceStatus;
use jarvis_core::restart::Leaving;
use jarvis_core::vocabulary::{Lifecycle, ServiceId, ServiceState};
use jarvis_core::{Error, ErrorKind, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{mpsc, oneshot};

use self::players::{FAILS, HEALS, PLAYERS, Stage};
use super::Context;
use crate::args::Format;
use crate::display::{Display, Look};
use crate::exit::ExitStatus;
use crate::printer::{Style, paint};
use crate::signals::{Asked, Signals};
use crate::text;
use crate::text::time::human_duration;

/// The demo is over within this time, also on a slow machine.
const PATIENCE: Duration = Duration::from_secs(35);

/// The time between two looks at a state that has no event.
const LOOK_EVERY: Duration = Duration::from_millis(100);

const OPENING: &str = "\
JARVIS demo: seven stand-ins for AI DAWG's services, each a real process on a
free port of this machine, watched and restarted by the real supervision loop.

Only the waiting times are shorter than usual: checks run every second instead
of every 30, a restart is verified after 1 s instead of 10, and an incident is
resolved after 4 s of health instead of 60. Each line with a time is an event.";

const CLOSING: &str = "
Next, on your own services:

  jarvis check            probe AI DAWG's services on 127.0.0.1 once
  jarvis config init      write a jarvis.toml to edit for your own services
  jarvis up --dry-run     report the actions that would be taken, and take none
  jarvis up               run the supervision loop
";

pub(crate) async fn run(context: &Context, keep: bool) -> Result<ExitStatus> {
    if context.global.output != Format::Text {
        let message = "the demo has no JSON output; use --output text";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let mut signals = Signals::new()?;
    let stage = Stage::build()?;
    let jarvis = Jarvis::open(Source::empty().with_file(stage.config()))?;
    let (shown, events) = mpsc::unbounded_channel();
    let look = Look::Story { table: io::stdout().is_terminal() };
    let display = Display::start(&jarvis, context.printer, look, &context.log, Some(shown)).await?;
    display.say(OPENING);
    let (leave, left) = oneshot::channel();
    let mut running = tokio::spawn({
        let jarvis = jarvis.clone();
        async move { jarvis.run(async { left.await.unwrap_or(Leaving::Interrupted) }).await }
    });
    let clock = jarvis.clock();
    let mut story = Story {
        began: clock.monotonic(),
        deadline: clock.monotonic() + PATIENCE,
        colored: context.printer.colored(),
        clock,
        jarvis: &jarvis,
        display: &display,
        stage: &stage,
        events,
    };
    let told = tokio::select! {
        told = story.tell(keep) => told.map(Told::Whole),
        ended = &mut running => Err(broken(ended)),
        asked = signals.next() => Ok(Told::CutShort(match asked {
            Asked::Leave(Leaving::Interrupted) => ExitStatus::Interrupted,
            _ => ExitStatus::Terminated,
        })),
    };
    let told = match told {
        Ok(Told::Whole(report)) if keep => {
            display.say(report);
            display.say(paint(&stage.invitation(), Style::Bold, context.printer.colored()));
            let _ = signals.next().await;
            Ok(Told::Whole(String::new()))
        }
        other => other,
    };
    display.stop().await;
    if let Ok(Told::Whole(report)) = &told {
        context.printer.raw(report)?;
    }
    let _ = leave.send(Leaving::Interrupted);
    let ended = running.await.map_err(|error| broken(Err(error)))?;
    ended?;
    if let Told::CutShort(status) = told? {
        return Ok(status);
    }
    context.printer.hint(CLOSING)?;
    Ok(ExitStatus::Done)
}

/// How the story ended.
enum Told {
    /// To its end, with the uptime report.
    Whole(String),
    /// By a signal.
    CutShort(ExitStatus),
}

fn broken(ended: Result<Result<()>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => Error::new(ErrorKind::Internal, "the supervision loop ended by itself"),
        Err(error) => {
            Error::new(ErrorKind::Internal, "the supervision loop crashed").with_source(error)
        }
    }
}

/// What the demo does to the services, and what it waits for.
struct Story<'a> {
    jarvis: &'a Jarvis,
    clock: SharedClock,
    display: &'a Display,
    stage: &'a Stage,
    events: mpsc::UnboundedReceiver<Arc<Envelope>>,
    began: Monotonic,
    deadline: Monotonic,
    colored: bool,
}

impl Story<'_> {
    /// Returns the uptime report at the end.
    async fn tell(&mut self, keep: bool) -> Result<String> {
        self.chapter("1. JARVIS starts the services and watches them");
        self.all_well().await?;
        let (heals, fails) = (ServiceId::new(HEALS)?, ServiceId::new(FAILS)?);

        let pid = self.pid_of(&heals).await?;
        self.chapter(&format!("2. {heals} is killed: SIGKILL to pid {}", pid.as_raw_nonzero()));
        let killed = self.kill(pid)?;
        self.healed(&heals, killed).await?;

        let pid = self.pid_of(&fails).await?;
        self.chapter(&format!(
            "3. {fails} is damaged and killed: SIGKILL to pid {}",
            pid.as_raw_nonzero()
        ));
        self.stage.damage()?;
        self.kill(pid)?;
        self.until(
            "the escalation",
            |event| matches!(event, Event::Escalated { service, .. } if *service == fails),
        )
        .await?;
        self.until("the alert", |event| matches!(event, Event::AlertDelivered { .. })).await?;
        self.note("Restarts do not help here, so JARVIS stopped trying and sent an alert.");

        self.chapter(if keep { "4. The uptime so far" } else { "4. The uptime" });
        let passed = self.clock.monotonic().saturating_since(self.began);
        let uptime = self.jarvis.attach().await.uptime(&[], passed).await?;
        let page = text::uptime::report(&uptime, self.colored, None);
        let watched = human_duration(passed);
        Ok(format!(
            "\n{page}\nThe range begins at a full minute; JARVIS watched for {watched} of it. Time that\nwas not observed counts as unknown, not as up.\n"
        ))
    }

    fn chapter(&self, title: &str) {
        self.display.say(format!("\n{}", paint(&format!("── {title}"), Style::Bold, self.colored)));
    }

    fn note(&self, line: &str) {
        self.display.say(format!("          {}", paint(line, Style::Faint, self.colored)));
    }

    /// The next event of that kind.
    async fn until(
        &mut self,
        what: &str,
        is_it: impl Fn(&Event) -> bool + Send + Sync,
    ) -> Result<Arc<Envelope>> {
        let events = &mut self.events;
        let search = async {
            while let Some(envelope) = events.recv().await {
                if is_it(&envelope.event) {
                    return Some(envelope);
                }
            }
            None
        };
        let found = self.clock.until(self.deadline, search).await.flatten();
        found.ok_or_else(|| self.not_seen(what))
    }

    /// Waits until every service is healthy and steady, for which there is no event.
    async fn all_well(&mut self) -> Result<()> {
        let operator = self.jarvis.operator().await?;
        loop {
            let steady = |service: &ServiceStatus| {
                service.state == ServiceState::Healthy && service.lifecycle == Lifecycle::Steady
            };
            let status = operator.status().await;
            if status.services.len() == PLAYERS.len() && status.services.iter().all(steady) {
                return Ok(());
            }
            if self.clock.monotonic() >= self.deadline {
                return Err(self.not_seen("all services to be healthy"));
            }
            self.clock.sleep(LOOK_EVERY).await;
        }
    }

    fn not_seen(&self, what: &str) -> Error {
        let patience = human_duration(PATIENCE);
        let message = format!(
            "the demo waited {patience} in vain for {what}; the machine may be too busy, try again"
        );
        Error::new(ErrorKind::Timeout, message)
    }

    /// The process that the operator says is the service.
    async fn pid_of(&self, service: &ServiceId) -> Result<Pid> {
        let status = self.jarvis.operator().await?.status().await;
        let found = status.services.iter().find(|found| found.service == *service);
        found
            .and_then(|found| found.instance.as_ref())
            .and_then(|instance| instance.as_str().split(' ').nth(1)?.parse().ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| Error::new(ErrorKind::Internal, format!("{service} has no process")))
    }

    fn kill(&self, pid: Pid) -> Result<WallTime> {
        let at = self.clock.wall();
        kill_process(pid, Signal::KILL).map_err(|error| Error::from(io::Error::from(error)))?;
        Ok(at)
    }

    async fn healed(&mut self, service: &ServiceId, killed: WallTime) -> Result<()> {
        let seen = self
            .until("the exit", |event| match event {
                Event::InstanceExited { service: of, .. }
                | Event::IncidentOpened { service: of, .. } => of == service,
                _ => false,
            })
            .await?;
        let verified = self
            .until(
                "the verification",
                |event| matches!(event, Event::VerifyPassed { service: of, .. } if of == service),
            )
            .await?;
        self.note(&format!(
            "Detected {} after the kill, verified {} after it.",
            human_duration(seen.at.saturating_since(killed)),
            human_duration(verified.at.saturating_since(killed))
        ));
        self.until(
            "the end of the incident",
            |event| matches!(event, Event::IncidentResolved { service: of, .. } if of == service),
        )
        .await?;
        Ok(())
    }
}

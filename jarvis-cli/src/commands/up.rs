//! `jarvis up`: the supervision loop, until it is stopped.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::{ClockExt, Monotonic, SharedClock};
use jarvis_core::config::{Config, Report};
use jarvis_core::jarvis::{END_WITHIN, Jarvis};
use jarvis_core::restart::Leaving;
use jarvis_core::vocabulary::{Lifecycle, Mode};
use jarvis_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::Context;
use crate::args::{Format, UpArgs};
use crate::display::{Display, Look};
use crate::exit::ExitStatus;
use crate::signals::{Asked, Signals};
use crate::watch::ConfigWatch;
use crate::{http, service_manager, text};

/// How long the end may take: as long as the library says, and a moment more.
const PATIENCE: Duration = Duration::from_secs(END_WITHIN.as_secs() + 1);

/// How often the service manager's line is brought up to date.
const STATUS_EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn run(context: &Context, args: UpArgs) -> Result<ExitStatus> {
    let mut source = context.source();
    if args.dry_run {
        source = source.with_setting("jarvis.mode", "dry-run", "--dry-run");
    }
    let jarvis = Jarvis::open(source)?;
    let config = jarvis.config();
    let server = match args.http.or(config.jarvis.http) {
        Some(address) => Some(http::Server::bind(address).await?),
        None => None,
    };
    let signals = Signals::new()?;
    let on_terminal = io::stdout().is_terminal() && context.global.output == Format::Text;
    let look = if on_terminal && !args.plain { Look::Table } else { Look::Lines };
    let display = Display::start(&jarvis, context.printer, look, &context.log, None).await?;
    display.say(opening(&config));
    for problem in config.warnings().warnings() {
        display.say(problem.to_string());
    }
    let mut helpers = JoinSet::new();
    if let Some(server) = server {
        display.say(format!("http://{} serves /healthz, /status and /metrics", server.address));
        helpers.spawn(server.serve(Arc::new(jarvis.clone()), jarvis.clock()));
    }
    helpers.spawn(service_manager::watchdog(jarvis.clone(), jarvis.clock()));
    helpers.spawn(tell_service_manager(jarvis.clone(), jarvis.clock()));
    let watch = ConfigWatch::new(config.files(), jarvis.clock()).await;
    let (leave, left) = oneshot::channel();
    let running = tokio::spawn({
        let jarvis = jarvis.clone();
        async move { jarvis.run(async { left.await.unwrap_or(Leaving::Terminated) }).await }
    });
    let supervision = Supervision {
        clock: jarvis.clock(),
        jarvis,
        display: &display,
        running,
        leave: Some(leave),
        asked: 0,
        deadline: None,
    };
    let result = supervision.until_the_end(signals, watch).await;
    display.stop().await;
    result
}

/// The first line: what it watches, what it may restart, and how it is stopped.
fn opening(config: &Config) -> String {
    let restarts = || config.services.iter().filter_map(|service| service.restart.as_ref());
    let restartable = restarts().count();
    let owned = restarts().filter(|restart| restart.via == "process").count();
    let services = text::services(config.services.len());
    let file =
        config.file().map_or_else(|| "jarvis.toml".into(), |file| file.display().to_string());
    let what = match config.jarvis.mode {
        _ if config.is_built_in() => format!(
            "no configuration file, so it watches the {services} of AI DAWG on 127.0.0.1 and restarts none; `jarvis config init` writes a file"
        ),
        Mode::DryRun => format!(
            "dry run of {file}: watches {services}, reports the actions it would take and takes none ({restartable} restartable)"
        ),
        Mode::Observe => format!("{file}: watches {services}, restarts none (mode observe)"),
        Mode::Act if restartable == 0 => {
            format!("{file}: watches {services}, restarts none (none has a restart section)")
        }
        Mode::Act => format!("{file}: watches {services}, {restartable} of them restartable"),
    };
    let stop = match owned {
        0 => "Ctrl-C stops it".to_owned(),
        1 => "Ctrl-C stops it and the process that it runs".to_owned(),
        owned => format!("Ctrl-C stops it and the {owned} processes that it runs"),
    };
    format!("jarvis {}: {what}. {stop}.", env!("CARGO_PKG_VERSION"))
}

/// The loop and its signals.
struct Supervision<'a> {
    jarvis: Jarvis,
    clock: SharedClock,
    display: &'a Display,
    running: JoinHandle<Result<()>>,
    leave: Option<oneshot::Sender<Leaving>>,
    /// How many signals asked it to end.
    asked: u32,
    deadline: Option<Monotonic>,
}

impl Supervision<'_> {
    async fn until_the_end(
        mut self,
        mut signals: Signals,
        mut watch: ConfigWatch,
    ) -> Result<ExitStatus> {
        loop {
            let deadline = self.deadline.map(|deadline| self.clock.sleep_until(deadline));
            let too_late = async {
                match deadline {
                    Some(deadline) => deadline.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = &mut self.running => return Self::ended(ended),
                asked = signals.next() => match asked {
                    Asked::Leave(why) => {
                        if self.leaving(why).await {
                            return Ok(ExitStatus::Failed);
                        }
                    }
                    Asked::Reload => self.reload(&mut watch).await,
                },
                () = watch.changed(), if self.leave.is_some() => self.reload(&mut watch).await,
                () = too_late => {
                    let work = self.under_way().await;
                    tracing::error!("stopped before this was finished: {work}");
                    return Ok(ExitStatus::Failed);
                }
            }
        }
    }

    fn ended(ended: Result<Result<()>, tokio::task::JoinError>) -> Result<ExitStatus> {
        match ended {
            Ok(result) => result.map(|()| ExitStatus::Done),
            Err(error) => {
                let message =
                    "the supervision loop crashed; please report this, and start it again";
                Err(Error::new(ErrorKind::Internal, message).with_source(error))
            }
        }
    }

    /// The first signal stops the loop, the second reports what is still being finished, and the
    /// third ends at once (`true`).
    async fn leaving(&mut self, why: Leaving) -> bool {
        self.asked += 1;
        if let Some(leave) = self.leave.take() {
            service_manager::stopping();
            self.deadline = Some(self.clock.monotonic() + PATIENCE);
            let _ = leave.send(why);
            self.display.say("stopping after the actions under way are finished");
            return false;
        }
        if self.asked == 2 {
            let work = self.under_way().await;
            self.display.say(format!("still finishing: {work}; press Ctrl-C again to end at once"));
            return false;
        }
        self.display.say("ended at once; the next `jarvis up` continues where this one stopped");
        true
    }

    /// What the end waits for.
    async fn under_way(&self) -> String {
        let status = self.jarvis.status().await.operator;
        let services = status.iter().flat_map(|status| &status.services);
        let acting = services.filter(|service| {
            matches!(
                service.lifecycle,
                Lifecycle::Acting | Lifecycle::Waiting | Lifecycle::Verifying
            )
        });
        let names: Vec<String> = acting
            .map(|service| format!("{} is {}", service.service, service.lifecycle.as_str()))
            .collect();
        if names.is_empty() {
            "handing over the processes that it runs".to_owned()
        } else {
            names.join(", ")
        }
    }

    async fn reload(&mut self, watch: &mut ConfigWatch) {
        service_manager::reloading();
        watch.look().await;
        if let Err(error) = self.jarvis.reload().await {
            // The event has only the first error.
            if let Some(report) = Report::of(&error) {
                for line in text::problems::list(report, false).lines() {
                    self.display.say(line);
                }
            }
        }
        watch.follow(self.jarvis.config().files()).await;
        service_manager::ready();
    }
}

/// Says when the loop runs, and then how the services are.
async fn tell_service_manager(jarvis: Jarvis, clock: SharedClock) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    while !(jarvis.healthz().loop_stats.running && jarvis.attach().await.is_live()) {
        clock.sleep(Duration::from_millis(50)).await;
    }
    service_manager::ready();
    let mut told = String::new();
    loop {
        let line = text::status::headline(&jarvis.health().snapshot().platform, false);
        if line != told {
            service_manager::status(&line);
            told = line;
        }
        clock.sleep(STATUS_EVERY).await;
    }
}

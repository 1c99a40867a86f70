//! `jarvis up`: the supervision loop, until it is told to end.

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

/// How long the end may take: as long as the library says, and a moment for what hangs.
const PATIENCE: Duration = Duration::from_secs(END_WITHIN.as_secs() + 1);

/// How often the service manager's line is brought up to date.
const STATUS_EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn run(context: &Context, args: UpArgs) -> Result<ExitStatus> {
    let mut source = context.source();
    if args.dry_run {
        source = source.with_variable("JARVIS_JARVIS__MODE", "dry-run");
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

/// The first line: what it may do, and how it is stopped.
fn opening(config: &Config) -> String {
    let services = config.services.len();
    let restartable = config.services.iter().filter(|service| service.restart.is_some()).count();
    let owned = config.services.iter().filter_map(|service| service.restart.as_ref());
    let owned = owned.filter(|restart| restart.via == "process").count();
    let many = text::services(services);
    let file =
        config.file().map_or_else(|| "jarvis.toml".into(), |file| file.display().to_string());
    let what = match config.jarvis.mode {
        _ if config.is_built_in() => format!(
            "no configuration file: nothing is restarted. Watches the {many} of AI DAWG on 127.0.0.1; `jarvis config init` writes a file"
        ),
        Mode::DryRun => format!(
            "dry run: says what it would do and does nothing. Watches {many}, would restart {restartable} of them ({file})"
        ),
        Mode::Observe => format!("observes: nothing is restarted. Watches {many} ({file})"),
        Mode::Act if restartable == 0 => {
            format!(
                "nothing is restarted: no service has a restart section. Watches {many} ({file})"
            )
        }
        Mode::Act => format!("watches {many}, may restart {restartable} of them ({file})"),
    };
    let stop = match owned {
        0 => "Ctrl-C stops it".to_owned(),
        1 => "Ctrl-C stops it and the process it owns".to_owned(),
        owned => format!("Ctrl-C stops it and the {owned} processes it owns"),
    };
    format!("jarvis {}: {what}. {stop}.", env!("CARGO_PKG_VERSION"))
}

/// The loop, and what people ask of it from outside.
struct Supervision<'a> {
    jarvis: Jarvis,
    clock: SharedClock,
    display: &'a Display,
    running: JoinHandle<Result<()>>,
    leave: Option<oneshot::Sender<Leaving>>,
    /// How often it was asked to end.
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
                    tracing::error!("not finished in time, left as it is: {work}");
                    return Ok(ExitStatus::Failed);
                }
            }
        }
    }

    fn ended(ended: Result<Result<()>, tokio::task::JoinError>) -> Result<ExitStatus> {
        match ended {
            Ok(result) => result.map(|()| ExitStatus::Done),
            Err(error) => {
                let message = "the supervision loop broke down; start it again, and report this";
                Err(Error::new(ErrorKind::Internal, message).with_source(error))
            }
        }
    }

    /// The first time the loop is told to end; the second time a person learns what he waits for;
    /// the third time he has waited enough.
    async fn leaving(&mut self, why: Leaving) -> bool {
        self.asked += 1;
        if let Some(leave) = self.leave.take() {
            service_manager::stopping();
            self.deadline = Some(self.clock.monotonic() + PATIENCE);
            let _ = leave.send(why);
            self.display.say("stopping; what is under way is finished first");
            return false;
        }
        if self.asked == 2 {
            let work = self.under_way().await;
            self.display.say(format!("still finishing: {work}; once more ends at once"));
            return false;
        }
        self.display.say("ended at once; the next `jarvis up` takes up what was left");
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
            "owned processes are being let go of".to_owned()
        } else {
            names.join(", ")
        }
    }

    async fn reload(&mut self, watch: &mut ConfigWatch) {
        service_manager::reloading();
        watch.look().await;
        if let Err(error) = self.jarvis.reload().await {
            // The event names the first error; a person wants them all.
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

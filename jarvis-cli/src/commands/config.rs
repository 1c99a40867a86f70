//! `jarvis config`: writes, checks and prints the configuration.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use jarvis_core::clock::{SharedClock, SystemClock};
use jarvis_core::config::{self, Config, Container, Report, Weight};
use jarvis_core::registry::{Registry, examine};
use jarvis_core::restart::docker::discover;
use jarvis_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::Context;
use crate::args::ConfigCommand;
use crate::exit::ExitStatus;
use crate::text::config::{Checked, values};

pub(crate) async fn run(context: &Context, command: ConfigCommand) -> Result<ExitStatus> {
    match command {
        ConfigCommand::Init { path, from_docker, docker_host, force } => {
            let text = if from_docker {
                containers(context, docker_host.as_deref()).await?
            } else {
                config::ai_dawg()
            };
            init(context, &path, &text, force)
        }
        ConfigCommand::Check { deep } => check(context, deep).await,
        ConfigCommand::Show => show(context),
    }
}

async fn containers(context: &Context, host: Option<&str>) -> Result<String> {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let found = context.wait_for("asking the Docker Engine", discover(host, clock)).await?;
    let containers: Vec<Container> = found
        .into_iter()
        .map(|found| {
            let mut container = Container::new(found.name, found.image);
            container.compose = found.compose;
            container.has_healthcheck = found.has_healthcheck;
            container.restart_policy = found.restart_policy;
            let tcp = found.ports.into_iter().filter(|port| port.protocol == "tcp");
            container.ports =
                tcp.map(|port| (port.host_ip, port.host_port, port.container_port)).collect();
            // The same port on IPv4 and IPv6 is one port to a probe.
            container.ports.sort_by_key(|port| port.1);
            container.ports.dedup_by_key(|port| port.1);
            container
        })
        .collect();
    Ok(config::from_containers(&containers, host))
}

fn init(context: &Context, path: &Path, text: &str, force: bool) -> Result<ExitStatus> {
    if path == Path::new("-") {
        context.printer.raw(text)?;
        return Ok(ExitStatus::Done);
    }
    write(path, text, force).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::new(
            ErrorKind::Conflict,
            format!(
                "{} already exists; use --force to overwrite it, or - to print to standard output",
                path.display()
            ),
        ),
        _ => {
            let message = format!("can't write {}: {error}", path.display());
            Error::new(Error::from(error).kind(), message)
        }
    })?;
    #[derive(Debug, Serialize)]
    struct Written<'a> {
        written: &'a Path,
    }
    context.printer.confirm(&Written { written: path }, |written| {
        let path = written.written.display();
        format!(
            "wrote {path}; next: `jarvis config check`, `jarvis check`, `jarvis up --dry-run`\n"
        )
    })?;
    Ok(ExitStatus::Done)
}

/// Only its owner may read it: it may come to hold secrets, and it names commands to run.
fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    if !force {
        return options.open(path)?.write_all(text.as_bytes());
    }
    // Replaced as a whole, so that a running `jarvis up` never reads half a file.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let new = path.with_file_name(name);
    let result = options
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&new, path));
    if result.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    result
}

async fn check(context: &Context, deep: bool) -> Result<ExitStatus> {
    let (config, mut report) = Config::inspect(&context.source());
    let clock: SharedClock = Arc::new(SystemClock::new());
    let (mut services, mut restartable, mut found) = (0, 0, Report::default());
    if let Some(config) = &config {
        let (wiring, more) = Registry::with_defaults().wire(config, &clock);
        report.extend(more);
        if let Some(wiring) = wiring {
            services = wiring.managed.len();
            restartable =
                wiring.managed.iter().filter(|service| service.restarter.is_some()).count();
            if deep {
                let what = "checking what the configuration names";
                found = context.wait_for(what, examine(config, &wiring, &clock)).await;
            }
        }
    }
    let answer = Checked {
        valid: !report.is_refused(),
        file: config.as_ref().and_then(Config::file).map(|file| file.display().to_string()),
        services,
        restartable,
        report,
        found: found.problems,
    };
    context.printer.print(&answer, Checked::text)?;
    let missing = answer.found.iter().any(|problem| problem.weight == Weight::Error);
    Ok(match (answer.valid, missing) {
        (false, _) => ExitStatus::Usage,
        (true, true) => ExitStatus::Failed,
        (true, false) => ExitStatus::Done,
    })
}

fn show(context: &Context) -> Result<ExitStatus> {
    let config = Config::load(&context.source())?;
    let width = context.width();
    context
        .printer
        .print(&config.effective(), |_, colored| values(&config.show(), colored, width))?;
    Ok(ExitStatus::Done)
}

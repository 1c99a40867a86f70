//! The command line as types. Parsing does nothing else.

mod events;
mod global;
mod operate;
mod since;
mod stores;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jarvis_core::vocabulary::{CheckName, ServiceId};

pub(crate) use events::{EventsArgs, EventsCommand, PublishArgs};
pub(crate) use global::{Color, Format, Global, LogFormat};
pub(crate) use operate::{ActionArgs, MaintenanceCommand, PauseArgs};
pub(crate) use since::Since;
pub(crate) use stores::{CacheCommand, CacheSetArgs, DeleteArgs, SessionCommand, SessionSetArgs};

/// Watches services, restarts those that fail and verifies that they are healthy again.
#[derive(Debug, Parser)]
#[command(
    name = "jarvis",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Exit codes:
  0    success; all services healthy
  1    failure: a service is degraded or down, not found, or an action was refused
  2    invalid usage or configuration
  3    unknown: a dependency is unavailable, or nothing has been recorded yet
  130  interrupted by Ctrl-C

Getting started:
  jarvis demo           see JARVIS detect, restart and escalate, on this machine
  jarvis check          probe AI DAWG's services on 127.0.0.1 once
  jarvis config init    write a jarvis.toml to edit for your own services
  jarvis up             run the supervision loop"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the supervision loop: watch the services, restart those that fail, send alerts
    #[command(
        after_help = "Ctrl-C stops the loop and the processes that it started, unless their `on_exit` says otherwise. \
SIGTERM stops the loop and leaves them running; the next `jarvis up` adopts them. The \
configuration is reloaded on SIGHUP and when the file is saved; an invalid one is rejected, and the \
current one stays in force.

Examples:
  jarvis up
  jarvis up --dry-run
  jarvis up --http 127.0.0.1:9464
  jarvis up --output jsonl --log-format json"
    )]
    Up(UpArgs),

    /// Probe every service once, now
    #[command(after_help = "Examples:
  jarvis check
  jarvis check vocal-coach ai-brain
  jarvis check --output json | jq .platform.state")]
    Check {
        /// Only these services
        #[arg(value_name = "SERVICE")]
        services: Vec<ServiceId>,
    },

    /// Show the state of the services, as `jarvis up` sees them or last saw them
    #[command(after_help = "Examples:
  jarvis status
  jarvis status vocal-coach")]
    Status {
        /// Show this service and its checks in detail
        #[arg(value_name = "SERVICE")]
        service: Option<ServiceId>,
    },

    /// Show how much of the time the services were up
    #[command(after_help = "Examples:
  jarvis uptime
  jarvis uptime vocal-coach --since 7d
  jarvis uptime --since 2026-11-01")]
    Uptime {
        /// Only these services
        #[arg(value_name = "SERVICE")]
        services: Vec<ServiceId>,
        /// Start of the time range: a duration ago (24h, 7d), or a date with or without a time
        #[arg(long, value_name = "TIME", default_value = "24h", alias = "window")]
        since: Since,
    },

    /// Show past events, or follow them live
    #[command(after_help = events::HELP)]
    Events(EventsArgs),

    /// Publish a message on the event bus
    #[command(after_help = events::PUBLISH_HELP)]
    Publish(PublishArgs),

    /// Restart a service and verify that it is healthy
    #[command(after_help = operate::HELP)]
    Restart(ActionArgs),

    /// Stop a service and keep it stopped
    #[command(after_help = operate::HELP)]
    Stop(ActionArgs),

    /// Start a stopped service and verify that it is healthy
    #[command(after_help = operate::HELP)]
    Start(ActionArgs),

    /// Hold all actions until `jarvis resume`; checks and alerts continue
    #[command(after_help = "Examples:
  jarvis pause --reason 'database migration'
  jarvis pause --for 1h")]
    Pause(PauseArgs),

    /// Allow actions again after `jarvis pause`
    Resume,

    /// Clear the restart budget, backoff and cooldown of a service
    Reset {
        /// The service to reset
        #[arg(value_name = "SERVICE")]
        service: ServiceId,
    },

    /// Manage maintenance windows, during which nothing is restarted and no new alert is sent
    #[command(subcommand)]
    Maintenance(MaintenanceCommand),

    /// Manage sessions
    #[command(subcommand, after_help = stores::SESSION_HELP)]
    Session(SessionCommand),

    /// Manage the cache
    #[command(subcommand, after_help = stores::CACHE_HELP)]
    Cache(CacheCommand),

    /// Test the alert sinks
    #[command(subcommand)]
    Alert(AlertCommand),

    /// Write, check or print the configuration
    #[command(subcommand)]
    Config(ConfigCommand),

    /// Print a completion script for a shell
    #[command(after_help = "Example:
  jarvis completions bash > /etc/bash_completion.d/jarvis")]
    Completions {
        /// The shell to complete for
        #[arg(value_enum)]
        shell: Shell,
    },

    /// See JARVIS work: it restarts real processes on this machine, in about half a minute
    Demo {
        /// Keep running at the end, until Ctrl-C
        #[arg(long)]
        keep: bool,
    },

    /// Serve as one of the demo's services
    #[command(hide = true)]
    StandIn(StandInArgs),
}

impl Command {
    /// Whether the command handles Ctrl-C and SIGTERM itself, instead of being cut short by them.
    pub(crate) const fn handles_signals(&self) -> bool {
        match self {
            Self::Up(_) | Self::Demo { .. } | Self::StandIn(_) => true,
            Self::Events(args) => args.follow,
            _ => false,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Serve /healthz, /status and /metrics on this address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) http: Option<SocketAddr>,
    /// Report the actions that would be taken, and take none
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print a line for each event, even on a terminal, instead of the live table
    #[arg(long)]
    pub(crate) plain: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlertCommand {
    /// Send a test alert and report whether each sink delivered it
    #[command(after_help = "Examples:
  jarvis alert test
  jarvis alert test ops")]
    Test {
        /// Only through this sink: the NAME of its [alert.NAME] section
        #[arg(value_name = "NAME")]
        sink: Option<CheckName>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Write a commented jarvis.toml
    #[command(after_help = "Examples:
  jarvis config init
  jarvis config init --from-docker /etc/jarvis/jarvis.toml
  jarvis config init - | less")]
    Init {
        /// The file to write; - for standard output
        #[arg(value_name = "FILE", default_value = "jarvis.toml")]
        path: PathBuf,
        /// Write a service for each running container, with its published ports
        #[arg(long)]
        from_docker: bool,
        /// The Docker Engine to ask, with --from-docker; by default $DOCKER_HOST or the local one
        #[arg(long, value_name = "URL", requires = "from_docker")]
        docker_host: Option<String>,
        /// Overwrite an existing file
        #[arg(long)]
        force: bool,
    },
    /// Report every error and warning in the configuration
    #[command(after_help = "Exit codes: 0 valid, 1 --deep found something missing, 2 invalid.

Examples:
  jarvis config check
  jarvis config check --deep
  jarvis config check --config staging.toml")]
    Check {
        /// Also check that what it names exists: containers, targets, programs, the state directory
        ///
        /// Connects to targets, but sends nothing and changes nothing.
        #[arg(long)]
        deep: bool,
    },
    /// Print the configuration in force and the origin of each value
    Show,
}

#[derive(Debug, Args)]
pub(crate) struct StandInArgs {
    /// The service to play
    #[arg(long)]
    pub(crate) name: String,
    /// The protocol to speak
    #[arg(long, value_enum)]
    pub(crate) protocol: Protocol,
    /// The loopback port
    #[arg(long)]
    pub(crate) port: u16,
    /// Exit with an error at the start while this file exists
    #[arg(long)]
    pub(crate) broken_while: Option<PathBuf>,
    /// Exit as soon as this process is gone
    #[arg(long)]
    pub(crate) exit_with: Option<i32>,
    /// The demo's directory, removed on that exit
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    Http,
    Redis,
    Postgres,
}

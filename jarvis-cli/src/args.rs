//! The command line as types. Parsing does nothing else.

mod stores;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jarvis_core::events::{TopicName, TopicPattern};
use jarvis_core::units::parse_duration;
use jarvis_core::vocabulary::{CheckName, ServiceId};

pub(crate) use stores::{CacheCommand, CacheSetArgs, SessionCommand, SessionSetArgs};

/// Watches services, heals them, and proves that they are well again.
#[derive(Debug, Parser)]
#[command(
    name = "jarvis",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Exit codes:
  0  done, or healthy
  1  a check failed: degraded, down, not found, refused by a gate
  2  wrong usage or configuration
  3  could not tell: a dependency is unavailable, or nothing is known

Start here:
  jarvis demo                     see it heal and give up, on this machine, in under a minute
  jarvis check                    probe AI DAWG's services on 127.0.0.1 once
  jarvis config init              write a jarvis.toml to point it at your own services
  jarvis up                       watch, heal, call a person"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The configuration file
    ///
    /// Without it: $JARVIS_CONFIG, then jarvis.toml in this folder or one above it, then
    /// $XDG_CONFIG_HOME/jarvis/jarvis.toml, then /etc/jarvis/jarvis.toml, then the built-in map
    /// of AI DAWG on 127.0.0.1, under which nothing is restarted.
    #[arg(long, short, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Where the running loop keeps its state, whatever the configuration says
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// How to print: a table, one JSON document, or a JSON document a line
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub(crate) output: Format,

    /// When to colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,

    /// Log more on stderr; twice for everything
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
    Jsonl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch the services, heal them, call a person when that fails
    #[command(after_help = "Examples:
  jarvis up
  jarvis up --dry-run
  jarvis up --http 127.0.0.1:9464       serves /healthz, /status and /metrics

Stops on Ctrl-C (owned processes are stopped too, unless on_exit says otherwise) and on SIGTERM
(they are left running and adopted by the next start). SIGHUP, or saving the file, reloads the
configuration; an invalid one is refused and the old one stays.")]
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

    /// What the running `jarvis up` knows, or what was last known
    Status {
        /// Only this service, with its checks
        #[arg(value_name = "SERVICE")]
        service: Option<ServiceId>,
    },

    /// How much of the time the services were up
    Uptime {
        /// Only these services
        #[arg(value_name = "SERVICE")]
        services: Vec<ServiceId>,
        /// Look back this far
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
        window: Duration,
    },

    /// What happened
    #[command(after_help = "Examples:
  jarvis events --since 2h
  jarvis events incident --follow --output jsonl
  jarvis events 'project.*.chat' --follow
  jarvis events publish project.42.chat '{\"text\": \"take two\"}'

JARVIS's own topics, which are retained: health, incident, action, operator, alert. Messages of the
application are shown as they come, with --follow; where some are missing, that is told in their
place.")]
    Events(EventsArgs),

    /// Restart a service now
    #[command(
        after_help = "A restart by hand overrides budget, cooldown, flapping and maintenance, never the kill switch
or the lease. Services that JARVIS owns as processes need a running `jarvis up`."
    )]
    Restart(ActionArgs),

    /// Stop a service and keep it stopped
    Stop(ActionArgs),

    /// Start a service that was stopped
    Start(ActionArgs),

    /// Hold every action until `jarvis resume`; watching and alerts go on
    Pause {
        /// Resume by itself after this long
        #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
        duration: Option<Duration>,
        /// Why, for whoever asks later
        #[arg(long, default_value = "paused by hand", value_name = "TEXT")]
        reason: String,
    },

    /// Act again after a pause
    Resume,

    /// Planned work: windows in which nothing is acted on and no alert begins
    #[command(subcommand)]
    Maintenance(MaintenanceCommand),

    /// Clear the restart budget, backoff and cooldown of a service
    Reset {
        #[arg(value_name = "SERVICE")]
        service: ServiceId,
    },

    /// Sessions: what is remembered of a visitor between requests
    #[command(subcommand, after_help = stores::SESSION_HELP)]
    Session(SessionCommand),

    /// The cache: what may be forgotten
    #[command(subcommand, after_help = stores::CACHE_HELP)]
    Cache(CacheCommand),

    /// Alerts
    #[command(subcommand)]
    Alert(AlertCommand),

    /// The configuration
    #[command(subcommand)]
    Config(ConfigCommand),

    /// Print a shell's completion script
    #[command(after_help = "Example:
  jarvis completions bash > /etc/bash_completion.d/jarvis")]
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },

    /// See it work: real processes are killed, healed and given up on, in under a minute
    Demo {
        /// Go on watching at the end, until Ctrl-C
        #[arg(long)]
        keep: bool,
    },

    /// Serve as one of the demo's services
    #[command(hide = true)]
    StandIn(StandInArgs),
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Serve /healthz, /status and /metrics on this address
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Decide and say what would be done, do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print log lines even on a terminal
    #[arg(long)]
    pub(crate) plain: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct EventsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<EventsCommand>,
    /// Only this topic; * stands for anything within a segment, ** for anything at all
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: Option<TopicPattern>,
    /// Go on as events happen, and show the messages of the application
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Also what the JARVIS of other instances on the bus says
    #[arg(long, requires = "follow")]
    pub(crate) everywhere: bool,
    /// Only of this service
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Option<ServiceId>,
    /// Look back this far
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    pub(crate) since: Duration,
    /// At most this many, the newest
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) limit: usize,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Publish a message of the application
    #[command(after_help = "Examples:
  jarvis events publish user_activity '{\"action\": \"voice_command\"}'
  jq -c . message.json | jarvis events publish project.42.chat -

It goes through a running `jarvis up`, else straight to the bus of [store] bus. A payload has at
most 64 KiB.")]
    Publish {
        /// The topic: segments of letters, digits, '-', '_' and ':', joined by '.'
        #[arg(value_name = "TOPIC")]
        topic: TopicName,
        /// The payload; - reads it from standard input
        #[arg(value_name = "JSON", allow_hyphen_values = true)]
        payload: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ActionArgs {
    #[arg(value_name = "SERVICE")]
    pub(crate) service: ServiceId,
    /// Return as soon as the action is accepted, without waiting for its verification
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MaintenanceCommand {
    /// Open a window now
    #[command(after_help = "Examples:
  jarvis maintenance add vocal-coach --for 30m --reason 'new model'
  jarvis maintenance add 'db-*' api --for 2h
  jarvis maintenance add --all --for 1h

Checks go on, and alerts that were told still end. The window closes by itself; it survives a
restart of JARVIS. Windows that return belong into the configuration, as [[maintenance]].")]
    Add {
        /// Names of services, or patterns such as 'model-*'
        #[arg(value_name = "SERVICE", required_unless_present = "all")]
        services: Vec<String>,
        /// Every service
        #[arg(long, conflicts_with = "services")]
        all: bool,
        /// How long it stays open
        #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
        duration: Duration,
        /// Why, for whoever asks later
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        reason: String,
    },
    /// The windows that were opened by hand and are open
    List,
    /// Close a window before its time
    Remove {
        /// Its number, as `add` and `list` say
        #[arg(value_name = "WINDOW", required_unless_present = "all")]
        window: Option<u64>,
        /// Each of them
        #[arg(long, conflicts_with = "window")]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlertCommand {
    /// Send a test alert and say what the receiver answered
    Test {
        /// Only through this sink
        #[arg(value_name = "NAME")]
        sink: Option<CheckName>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Write a commented jarvis.toml
    #[command(after_help = "Examples:
  jarvis config init
  jarvis config init --from-docker /etc/jarvis/jarvis.toml")]
    Init {
        /// Where to; - for standard output
        #[arg(value_name = "FILE", default_value = "jarvis.toml")]
        path: PathBuf,
        /// Write the containers that run now, with their published ports and restart sections
        #[arg(long)]
        from_docker: bool,
        /// The engine to ask, for --from-docker
        #[arg(long, value_name = "URL", requires = "from_docker")]
        docker_host: Option<String>,
        /// Overwrite the file
        #[arg(long)]
        force: bool,
    },
    /// Explain every error and doubt in the configuration
    Check {
        /// Also look whether all that it names is there and may be used; changes and sends nothing
        #[arg(long)]
        deep: bool,
    },
    /// Print the configuration in force, and where each value comes from
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
    /// The demo's folder: removed then
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    Http,
    Redis,
    Postgres,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

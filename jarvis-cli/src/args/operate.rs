//! What a person asks the operator for, as types.

use std::time::Duration;

use clap::{Args, Subcommand};
use jarvis_core::units::parse_duration;
use jarvis_core::vocabulary::ServiceId;

pub(super) const HELP: &str = "A manual action overrides the restart budget, backoff, cooldown and maintenance windows. It is refused \
while the kill switch is on, during `jarvis pause`, in the modes observe and dry-run, where [allow] \
excludes it, and while another JARVIS holds the lease.

Processes that JARVIS itself runs (via = \"process\") need a running `jarvis up`. Containers, systemd \
units and commands do not.";

#[derive(Debug, Args)]
pub(crate) struct ActionArgs {
    /// The service to act on
    #[arg(value_name = "SERVICE")]
    pub(crate) service: ServiceId,
    /// Return once the action is accepted, without waiting for its result
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// Resume automatically after this time; without it, until `jarvis resume`
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// The reason, shown by `jarvis status`
    #[arg(long, default_value = "paused by hand", hide_default_value = true, value_name = "TEXT")]
    pub(crate) reason: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MaintenanceCommand {
    /// Open a maintenance window now
    #[command(
        after_help = "Checks continue, and alerts that are already open are still closed. The window closes by itself \
after the given time, and survives a restart of JARVIS. Recurring windows belong in the \
configuration, as [[maintenance]].

Examples:
  jarvis maintenance add vocal-coach --for 30m --reason 'new model'
  jarvis maintenance add 'db-*' api --for 2h
  jarvis maintenance add --all --for 1h"
    )]
    Add {
        /// Names of services, or patterns such as 'model-*'
        #[arg(value_name = "SERVICE", required_unless_present = "all")]
        services: Vec<String>,
        /// All services
        #[arg(long, conflicts_with = "services")]
        all: bool,
        /// How long the window stays open
        #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
        duration: Duration,
        /// The reason, shown by `list` and `jarvis status`
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        reason: String,
    },
    /// List the open windows that were added by hand
    List,
    /// Close a maintenance window early
    #[command(
        alias = "remove",
        after_help = "Examples:
  jarvis maintenance delete 3
  jarvis maintenance delete --all"
    )]
    Delete {
        /// The number of the window, shown by `add` and `list`
        #[arg(value_name = "WINDOW", required_unless_present = "all")]
        window: Option<u64>,
        /// All windows that were added by hand
        #[arg(long, conflicts_with = "window")]
        all: bool,
    },
}

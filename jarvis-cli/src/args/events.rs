//! `jarvis events` and `jarvis publish` as types.

use clap::{Args, Subcommand};
use jarvis_core::events::{TopicName, TopicPattern};
use jarvis_core::vocabulary::ServiceId;

use super::Since;
use crate::input::Input;

pub(super) const HELP: &str = "JARVIS records its own events, on the topics health, incident, action, operator and alert. Messages \
that applications publish on other topics are not recorded: --follow shows them as they arrive. \
Where some were missed, a line says so.

Ctrl-C ends --follow with exit code 0.

Examples:
  jarvis events --since 2h
  jarvis events --topic incident --topic action --service vocal-coach
  jarvis events --topic 'project.*.chat' --follow
  jarvis events --follow --output jsonl";

pub(super) const PUBLISH_HELP: &str = "The message goes through the running `jarvis up`. If none is running, it goes directly to the bus \
that `[store] bus` names, which then has to be a Redis. A payload may be up to 64 KiB.

Examples:
  jarvis publish user_activity '{\"action\": \"voice_command\"}'
  jq -c . message.json | jarvis publish project.42.chat -
  jarvis publish project.42.chat @message.json";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct EventsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<EventsCommand>,
    /// Only this topic; may be repeated
    ///
    /// In a pattern, * matches within one segment (project.*.chat), ** matches any number of segments
    /// (project.**).
    #[arg(long = "topic", value_name = "TOPIC")]
    pub(crate) topics: Vec<TopicPattern>,
    /// The same as --topic
    #[arg(value_name = "TOPIC", hide = true)]
    pub(crate) topic: Option<TopicPattern>,
    /// Only events of this service
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Option<ServiceId>,
    /// Start of the time range: a duration ago (24h, 7d), or a date with or without a time
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub(crate) since: Since,
    /// Show at most N past events, the newest
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) limit: usize,
    /// Continue with new events, and with messages of applications, until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// With --follow: also show the events of other JARVIS instances on the same bus
    #[arg(long, requires = "follow")]
    pub(crate) everywhere: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// The same as `jarvis publish`
    #[command(hide = true, after_help = PUBLISH_HELP)]
    Publish(PublishArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The topic: segments of letters, digits, '-', '_' and ':', joined by '.'
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: TopicName,
    /// The payload: JSON, - for standard input, or @FILE
    #[arg(value_name = "JSON", allow_hyphen_values = true)]
    pub(crate) payload: Input,
}

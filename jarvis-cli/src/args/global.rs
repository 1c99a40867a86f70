//! The options that every command takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The options that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Configuration file
    ///
    /// Without this option: $JARVIS_CONFIG, then jarvis.toml in this directory or the nearest
    /// parent, then $XDG_CONFIG_HOME/jarvis/jarvis.toml, then /etc/jarvis/jarvis.toml. If there is
    /// none, AI DAWG's services on 127.0.0.1 are watched and nothing is restarted.
    #[arg(long, short, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// State directory of the supervision loop; overrides the configuration
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Output format
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        default_value_t = Format::Text,
        value_name = "FORMAT"
    )]
    pub(crate) output: Format,

    /// When to use color
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,

    /// Print results and errors only: no confirmations, hints, warnings or progress
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Log more to stderr: -v info, -vv debug, -vvv trace
    ///
    /// The default is to log warnings, and only errors with --quiet. The environment variable
    /// RUST_LOG overrides all of these, for example RUST_LOG=jarvis=debug.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Format of the log on stderr
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = LogFormat::Text,
        value_name = "FORMAT"
    )]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences for people
    Text,
    /// One JSON document
    Json,
    /// One JSON document per line
    Jsonl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Even if the output is not a terminal
    Always,
    /// Plain text only
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object per line
    Json,
}

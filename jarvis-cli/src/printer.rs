//! The only place that writes to stdout: text for people, JSON for programs.

mod live;

use std::io::{self, IsTerminal, Write};

use jarvis_core::vocabulary::ServiceState;
use serde::Serialize;

pub(crate) use live::Live;

use crate::args::{Color, Format, Global};

/// Writes answers. Text goes through a closure, so that nothing is laid out for a program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    format: Format,
    colored: bool,
    quiet: bool,
    muted: bool,
}

/// How a piece of text looks on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Good,
    Warn,
    Bad,
    Faint,
    Bold,
}

impl Style {
    /// The look of a state.
    pub(crate) const fn of_state(state: ServiceState) -> Self {
        match state {
            ServiceState::Healthy => Self::Good,
            ServiceState::Degraded => Self::Warn,
            ServiceState::Down => Self::Bad,
            ServiceState::Unknown => Self::Faint,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Faint => "\x1b[2m",
            Self::Bold => "\x1b[1m",
        }
    }
}

/// Colors a piece of text.
pub(crate) fn paint(text: &str, style: Style, colored: bool) -> String {
    if !colored || style == Style::Plain || text.is_empty() {
        return text.to_owned();
    }
    format!("{}{text}\x1b[0m", style.code())
}

/// Whether to color what goes to a stream.
pub(crate) fn wants_color(when: Color, is_terminal: bool) -> bool {
    match when {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            is_terminal
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

impl Printer {
    pub(crate) fn new(global: &Global) -> Self {
        let colored = wants_color(global.color, io::stdout().is_terminal());
        Self { format: global.output, colored, quiet: global.quiet, muted: false }
    }

    /// One that writes nothing more: the reader is gone.
    pub(crate) const fn muted(mut self) -> Self {
        self.muted = true;
        self
    }

    pub(crate) const fn format(self) -> Format {
        self.format
    }

    pub(crate) const fn colored(self) -> bool {
        self.colored
    }

    /// Is the output for people?
    pub(crate) fn is_text(self) -> bool {
        self.format == Format::Text
    }

    /// Whether only results and errors are printed (`--quiet`).
    pub(crate) const fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Prints one answer.
    pub(crate) fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T, bool) -> String,
    ) -> io::Result<()> {
        match self.format {
            Format::Text => self.write(&text(value, self.colored)),
            Format::Json => self.write(&format!("{:#}\n", serde_json::to_value(value)?)),
            Format::Jsonl => self.write(&format!("{}\n", serde_json::to_string(value)?)),
        }
    }

    /// Prints the confirmation that something was done: nothing for people with `--quiet`.
    pub(crate) fn confirm<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> io::Result<()> {
        if self.quiet && self.is_text() {
            return Ok(());
        }
        self.print(value, |value, _| text(value))
    }

    /// Prints advice for people; nothing with `--quiet` and nothing for programs.
    pub(crate) fn hint(self, text: &str) -> io::Result<()> {
        if self.quiet || !self.is_text() {
            return Ok(());
        }
        self.write(&paint(text, Style::Faint, self.colored))
    }

    /// Prints one of many answers: a line of text, or a line of JSON.
    pub(crate) fn item<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T, bool) -> String,
    ) -> io::Result<()> {
        match self.format {
            Format::Text => self.write(&text(value, self.colored)),
            Format::Json | Format::Jsonl => {
                self.write(&format!("{}\n", serde_json::to_string(value)?))
            }
        }
    }

    /// Prints text as it is.
    pub(crate) fn raw(self, text: &str) -> io::Result<()> {
        self.write(text)
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        self.write_bytes(bytes)
    }

    fn write(self, text: &str) -> io::Result<()> {
        self.write_bytes(text.as_bytes())
    }

    fn write_bytes(self, bytes: &[u8]) -> io::Result<()> {
        if self.muted {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }
}

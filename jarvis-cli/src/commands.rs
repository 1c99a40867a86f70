//! One file per command. Each asks the library and hands the answer to the printer.

pub(crate) mod act;
pub(crate) mod alert;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod events;
pub(crate) mod maintenance;
pub(crate) mod publish;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod up;
pub(crate) mod uptime;

use std::future::Future;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::ProgressBar;
use jarvis_core::clock::{ClockExt, SystemClock};
use jarvis_core::config::{Config, Report, Source, StoreUrl};
use jarvis_core::jarvis::{Attached, Jarvis};
use jarvis_core::{Error, ErrorKind, Result};

use crate::args::Global;
use crate::logging::LogOutput;
use crate::printer::{Live, Printer};
use crate::text::problems;

/// An answer that takes longer than this shows progress.
const QUICK: Duration = Duration::from_secs(1);

/// What every command has.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) printer: Printer,
    pub(crate) global: Global,
    pub(crate) log: LogOutput,
}

impl Context {
    /// Where the configuration comes from.
    pub(crate) fn source(&self) -> Source {
        let mut source = Source::from_environment();
        if let Some(directory) = &self.global.state_dir {
            // Relative to the working directory, not to the configuration file.
            let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
            source =
                source.with_setting("jarvis.state_dir", directory.to_string_lossy(), "--state-dir");
        }
        match &self.global.config {
            Some(file) => source.with_file(file),
            None => source,
        }
    }

    /// The running loop, or else what the last one left behind. If the configuration has become
    /// invalid while a loop runs, its problems are warnings and the loop is asked all the same.
    pub(crate) async fn attach(&self) -> Result<Attached> {
        let attached = Attached::open(self.source()).await.inspect_err(|error| {
            if Config::state_dir(&self.source()).is_none() && Report::of(error).is_some() {
                self.warn("if `jarvis up` is running with an earlier version of this configuration, use --state-dir DIR to reach it");
            }
        })?;
        if let Some(trouble) = attached.trouble() {
            let problems = Report::of(trouble);
            let text =
                problems.map_or_else(|| format!("{trouble}\n"), |it| problems::list(it, false));
            for line in text.lines() {
                self.warn(line);
            }
            self.warn("this answer is from the running `jarvis up`, which keeps its last valid configuration");
        }
        Ok(attached)
    }

    /// The handle on the configuration, for a command that needs it to be valid.
    pub(crate) fn open(&self) -> Result<Jarvis> {
        Jarvis::open(self.source())
    }

    /// How wide a table may be. Unlimited when it does not go to a terminal.
    pub(crate) fn width(&self) -> Option<usize> {
        std::io::stdout().is_terminal().then(|| Live::size().0)
    }

    /// Waits for an answer. After a second, a spinner on stderr says what it waits for.
    pub(crate) async fn wait_for<T>(&self, what: &str, answer: impl Future<Output = T>) -> T {
        if self.printer.is_quiet() {
            return answer.await;
        }
        let mut answer = Box::pin(answer);
        tokio::select! {
            answer = &mut answer => return answer,
            () = SystemClock::new().sleep(QUICK) => {}
        }
        // Drawn on stderr, and only if that is a terminal.
        let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(100));
        let answer = answer.await;
        spinner.finish_and_clear();
        answer
    }

    /// A line on stderr beside the answer on stdout.
    #[expect(clippy::print_stderr, reason = "a warning beside the answer on stdout")]
    fn warn(&self, line: &str) {
        if !self.printer.is_quiet() {
            eprintln!("warning: {line}");
        }
    }
}

/// Refuses a store that only its own process can read.
pub(crate) fn shared_store(url: &StoreUrl, key: &str, what: &str) -> Result<()> {
    if url.scheme() != "memory" {
        return Ok(());
    }
    let example =
        if key == "session" { "sqlite: or redis://HOST:PORT" } else { "redis://HOST:PORT" };
    let variable = key.to_ascii_uppercase();
    let message = format!(
        "no command can read {what} in memory ([store] {key} = \"memory:\"): they are inside the process that uses them. Set [store] {key} or JARVIS_STORE__{variable} to a shared store, such as {example}"
    );
    Err(Error::new(ErrorKind::InvalidInput, message))
}

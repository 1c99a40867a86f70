//! One file a command. Each asks the library and hands the answer to the printer.

pub(crate) mod act;
pub(crate) mod alert;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod events;
pub(crate) mod maintenance;
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

/// What is quicker than this shows no progress.
const QUICK: Duration = Duration::from_secs(1);

/// Overrides `state_dir`, as any key of `[jarvis]`.
const STATE_DIR: &str = "JARVIS_JARVIS__STATE_DIR";

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
        if let Some(folder) = &self.global.state_dir {
            // As the environment would say it; relative to where we are, not to the file.
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
            source = source.with_variable(STATE_DIR, folder.to_string_lossy());
        }
        match &self.global.config {
            Some(file) => source.with_file(file),
            None => source,
        }
    }

    /// The running loop, else what the last one left behind. A configuration that is broken by
    /// now is told, and keeps nobody from asking a loop that goes on with the old one.
    pub(crate) async fn attach(&self) -> Result<Attached> {
        let attached = Attached::open(self.source()).await.inspect_err(|error| {
            if Config::state_dir(&self.source()).is_none() && Report::of(error).is_some() {
                note("if `jarvis up` runs on an older version of this configuration, --state-dir DIR asks it all the same");
            }
        })?;
        if let Some(trouble) = attached.trouble() {
            let problems = Report::of(trouble);
            let told =
                problems.map_or_else(|| format!("{trouble}\n"), |it| problems::list(it, false));
            for line in told.lines() {
                note(line);
            }
            note("`jarvis up` goes on with the configuration it has, and answers by that one");
        }
        Ok(attached)
    }

    /// The handle on that configuration, where a command needs it to be right.
    pub(crate) fn open(&self) -> Result<Jarvis> {
        Jarvis::open(self.source())
    }

    /// How wide a table may be; as wide as it is when it does not go to a terminal.
    pub(crate) fn width(&self) -> Option<usize> {
        std::io::stdout().is_terminal().then(|| Live::size().0)
    }
}

/// Refuses a store that only its own process can see.
pub(crate) fn shared_store(url: &StoreUrl, key: &str, what: &str) -> Result<()> {
    if url.scheme() != "memory" {
        return Ok(());
    }
    let file = if key == "session" { "sqlite: or " } else { "" };
    let message = format!(
        "{what} are in the memory of the process that made them ([store] {key} = \"memory:\"), where no command can see them; name a store that is shared: {file}redis://HOST:PORT, in jarvis.toml or as JARVIS_STORE__{}",
        key.to_ascii_uppercase()
    );
    Err(Error::new(ErrorKind::InvalidInput, message))
}

/// A line on stderr beside the answer.
#[expect(clippy::print_stderr, reason = "a warning beside the answer on stdout")]
fn note(line: &str) {
    eprintln!("warning: {line}");
}

/// Waits for an answer; after a second a spinner on stderr says for what.
pub(crate) async fn with_progress<T>(what: &str, answer: impl Future<Output = T>) -> T {
    let mut answer = Box::pin(answer);
    tokio::select! {
        answer = &mut answer => return answer,
        () = SystemClock::new().sleep(QUICK) => {}
    }
    // Drawn on stderr, and only when that is a terminal.
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    let answer = answer.await;
    spinner.finish_and_clear();
    answer
}

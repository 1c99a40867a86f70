//! One file a command. Each asks the library and hands the answer to the printer.

pub(crate) mod act;
pub(crate) mod alert;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod events;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod up;
pub(crate) mod uptime;

use std::future::Future;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::ProgressBar;
use jarvis_core::clock::{ClockExt, SystemClock};
use jarvis_core::config::{Source, StoreUrl};
use jarvis_core::jarvis::Jarvis;
use jarvis_core::{Error, ErrorKind, Result};

use crate::args::Global;
use crate::logging::LogOutput;
use crate::printer::{Live, Printer};

/// What is quicker than this shows no progress.
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
        let source = Source::from_environment();
        match &self.global.config {
            Some(file) => source.with_file(file),
            None => source,
        }
    }

    /// The handle on that configuration.
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

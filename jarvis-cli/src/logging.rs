//! The program's own log, on stderr. While a live display owns the terminal, lines go through it.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use jarvis_core::sync::{Mutex, MutexGuard};

use tokio::sync::mpsc::UnboundedSender;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Where log lines go at present.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogOutput(Arc<Mutex<Option<UnboundedSender<String>>>>);

impl LogOutput {
    fn lock(&self) -> MutexGuard<'_, Option<UnboundedSender<String>>> {
        self.0.lock()
    }

    /// Hands lines to a display instead of stderr, until [`restore`](Self::restore).
    pub(crate) fn divert(&self, display: UnboundedSender<String>) {
        *self.lock() = Some(display);
    }

    /// Writes to stderr again.
    pub(crate) fn restore(&self) {
        *self.lock() = None;
    }
}

/// One record on its way. The formatter writes it whole, in one call.
#[derive(Debug)]
pub(crate) struct Record(LogOutput);

impl Write for Record {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let display = self.0.lock().clone();
        let line = String::from_utf8_lossy(bytes);
        match display {
            Some(display) if display.send(line.trim_end().to_owned()).is_ok() => Ok(bytes.len()),
            _ => io::stderr().lock().write_all(bytes).map(|()| bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogOutput {
    type Writer = Record;

    fn make_writer(&'a self) -> Record {
        Record(self.clone())
    }
}

/// Starts the log. `$RUST_LOG` says what is logged; without it `usual`, more with `--verbose`.
pub(crate) fn start(verbose: u8, usual: &str) -> LogOutput {
    let usual = match verbose {
        0 => usual,
        1 => "warn,jarvis=info,jarvis_core=info",
        2 => "info,jarvis=debug,jarvis_core=debug",
        _ => "trace",
    };
    let wanted = std::env::var("RUST_LOG").ok().filter(|wanted| !wanted.is_empty());
    let filter = EnvFilter::builder().parse_lossy(wanted.as_deref().unwrap_or(usual));
    let output = LogOutput::default();
    let colored = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colored)
        .with_target(verbose > 0)
        .with_writer(output.clone())
        .finish();
    // Only a second subscriber could make this fail, and there is none.
    let _ = tracing::subscriber::set_global_default(subscriber);
    output
}

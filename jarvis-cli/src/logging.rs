//! The program's own log, on stderr. While a live display owns the terminal, lines go through it.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use jarvis_core::secret::mask;
use jarvis_core::sync::{Mutex, MutexGuard};

use tokio::sync::mpsc::UnboundedSender;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::args::{Global, LogFormat};
use crate::printer::wants_color;

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

/// One record on its way, without known secrets. The formatter writes it whole, in one call.
#[derive(Debug)]
pub(crate) struct Record(LogOutput);

impl Write for Record {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let display = self.0.lock().clone();
        let record = String::from_utf8_lossy(bytes);
        let line = mask(&record);
        match display {
            Some(display) if display.send(line.trim_end().to_owned()).is_ok() => Ok(bytes.len()),
            _ => io::stderr().lock().write_all(line.as_bytes()).map(|()| bytes.len()),
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

/// Starts the log. `usual` is what a command logs by default.
pub(crate) fn start(global: &Global, usual: &str) -> LogOutput {
    let from_environment = std::env::var("RUST_LOG").ok();
    let directives = directives(from_environment.as_deref(), global.quiet, global.verbose, usual);
    let output = LogOutput::default();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse_lossy(directives))
        .with_ansi(wants_color(global.color, io::stderr().is_terminal()))
        .with_target(global.verbose > 0)
        .with_writer(output.clone());
    let subscriber: Box<dyn Subscriber + Send + Sync> = match global.log_format {
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).with_target(true).finish()),
    };
    // This only fails if a subscriber is already set; none is.
    let _ = tracing::subscriber::set_global_default(subscriber);
    output
}

/// What is logged: `$RUST_LOG` if it is set, else what the flags say.
fn directives<'a>(
    from_environment: Option<&'a str>,
    quiet: bool,
    verbose: u8,
    usual: &'a str,
) -> &'a str {
    // `jarvis` also covers the library's crates, `jarvis_core` and those below it.
    let by_flags = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => usual,
        (false, 1) => "warn,jarvis=info",
        (false, 2) => "info,jarvis=debug",
        (false, _) => "trace",
    };
    from_environment.filter(|directives| !directives.is_empty()).unwrap_or(by_flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_choose_the_level_and_rust_log_overrides_them() {
        let flags = |quiet, verbose| directives(None, quiet, verbose, "warn");
        assert_eq!(flags(false, 0), "warn");
        assert_eq!(flags(false, 1), "warn,jarvis=info");
        assert_eq!(flags(false, 2), "info,jarvis=debug");
        assert_eq!(flags(false, 3), "trace");
        assert_eq!(flags(true, 0), "error");
        for (quiet, verbose) in [(true, 0), (false, 0), (false, 3)] {
            assert_eq!(directives(Some("hyper=debug"), quiet, verbose, "warn"), "hyper=debug");
        }
        assert_eq!(directives(Some(""), false, 1, "warn"), "warn,jarvis=info");
    }
}

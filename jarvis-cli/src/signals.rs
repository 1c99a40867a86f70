//! Ctrl-C, SIGTERM and SIGHUP.

use std::io::{self, IsTerminal};

use jarvis_core::restart::Leaving;
use jarvis_core::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To end.
    Leave(Leaving),
    /// To read the configuration again.
    Reload,
}

/// The signals that this process handles from now on.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    on_terminal: bool,
}

fn handle(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|error| Error::from(error).with_operation("signals"))
}

impl Signals {
    /// Begins to handle them.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            interrupt: handle(SignalKind::interrupt())?,
            terminate: handle(SignalKind::terminate())?,
            hangup: handle(SignalKind::hangup())?,
            on_terminal: io::stdin().is_terminal() || io::stdout().is_terminal(),
        })
    }

    /// The next one. Cancel-safe.
    ///
    /// A hang-up on a terminal means that the terminal is gone, such as an SSH connection. That is
    /// no reason to stop what was started there, so it counts as SIGTERM. Without a terminal it
    /// asks to reload, as is usual for daemons.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Leave(Leaving::Interrupted),
            _ = self.terminate.recv() => Asked::Leave(Leaving::Terminated),
            _ = self.hangup.recv() => {
                if self.on_terminal { Asked::Leave(Leaving::Terminated) } else { Asked::Reload }
            }
        }
    }
}

/// Ctrl-C alone, for a command that has nothing to put in order when it is cut short.
#[derive(Debug)]
pub(crate) struct Interrupt(Signal);

impl Interrupt {
    /// Begins to handle it.
    pub(crate) fn new() -> Result<Self> {
        handle(SignalKind::interrupt()).map(Self)
    }

    /// Completes at the first one.
    pub(crate) async fn received(mut self) {
        self.0.recv().await;
    }
}

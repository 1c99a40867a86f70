//! The services of the demo, and the configuration they are supervised with.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use jarvis_core::Result;
use tempfile::TempDir;

use crate::stand_in::FOLDER_PREFIX;

/// A service of AI DAWG, and the stand-in that plays it.
pub(super) struct Player {
    name: &'static str,
    protocol: &'static str,
    check: &'static str,
    critical: bool,
    depends_on: &'static [&'static str],
}

pub(super) const PLAYERS: &[Player] = &[
    Player { name: "postgres", protocol: "postgres", check: "", critical: true, depends_on: &[] },
    Player { name: "redis", protocol: "redis", check: "", critical: false, depends_on: &[] },
    Player {
        name: "daw-backend",
        protocol: "http",
        check: "/api/health",
        critical: true,
        depends_on: &["postgres", "redis"],
    },
    Player {
        name: "daw-ui",
        protocol: "http",
        check: "/",
        critical: false,
        depends_on: &["daw-backend"],
    },
    Player {
        name: "vocal-coach",
        protocol: "http",
        check: "/health",
        critical: false,
        depends_on: &["redis"],
    },
    Player {
        name: "ai-producer",
        protocol: "http",
        check: "/health",
        critical: false,
        depends_on: &["redis"],
    },
    Player {
        name: "ai-brain",
        protocol: "http",
        check: "/health",
        critical: false,
        depends_on: &[],
    },
];

/// The service that is killed and recovers.
pub(super) const HEALS: &str = "vocal-coach";
/// The service that is killed and can't start again.
pub(super) const FAILS: &str = "ai-producer";

/// The demo's configuration: the real defaults, with the waits shortened.
fn configuration(folder: &Path, executable: &Path, ports: &[u16], broken: &Path) -> String {
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let mut text = format!(
        "[jarvis]\n\
         state_dir = {state}\n\
         interval = \"1s\"\n\
         interval_down = \"300ms\"\n\
         timeout = \"800ms\"\n\n\
         [defaults.restart]\n\
         wait = \"1s\"\n\
         verify_interval = \"300ms\"\n\
         stabilise = \"4s\"\n\
         backoff = {{ initial = \"500ms\", factor = 2.0, max = \"2s\", jitter = false }}\n\n\
         [alert.phone]\n\
         type = \"log\"\n\
         group_wait = \"1s\"\n",
        state = quoted(&folder.join("state")),
    );
    for (player, port) in PLAYERS.iter().zip(ports) {
        let paths = [executable, broken, folder].map(quoted);
        let _ = player.write(&mut text, *port, &paths);
    }
    text
}

impl Player {
    fn write(
        &self,
        text: &mut String,
        port: u16,
        [executable, broken, folder]: &[String; 3],
    ) -> std::fmt::Result {
        let Self { name, protocol, check, critical, depends_on } = self;
        write!(text, "\n[service.{name}]\ncritical = {critical}\ndepends_on = {depends_on:?}\n")?;
        // The first checks come before the first start.
        writeln!(text, "start_grace = \"3s\"")?;
        write!(text, "[[service.{name}.check]]\ntype = {protocol:?}\n")?;
        match *protocol {
            "http" => writeln!(text, "url = \"http://127.0.0.1:{port}{check}\"")?,
            "redis" => writeln!(text, "url = \"redis://127.0.0.1:{port}\"")?,
            _ => writeln!(text, "url = \"postgres://127.0.0.1:{port}\"")?,
        }
        let mut command = format!(
            "[{executable}, \"stand-in\", \"--name\", {name:?}, \"--protocol\", {protocol:?}, \"--port\", \"{port}\", \"--exit-with\", \"{pid}\", \"--folder\", {folder}",
            pid = std::process::id(),
        );
        if *name == FAILS {
            write!(command, ", \"--broken-while\", {broken}")?;
        }
        write!(
            text,
            "[service.{name}.restart]\nvia = \"process\"\ncommand = {command}]\non_exit = \"stop\"\n"
        )
    }
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<io::Result<_>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// The directory with everything in it. Removed when this is dropped.
#[derive(Debug)]
pub(super) struct Stage {
    folder: TempDir,
}

impl Stage {
    pub(super) fn build() -> Result<Self> {
        let stage = Self { folder: tempfile::Builder::new().prefix(FOLDER_PREFIX).tempdir()? };
        let executable = std::env::current_exe()?;
        let ports = free_ports(PLAYERS.len())?;
        let text = configuration(stage.folder.path(), &executable, &ports, &stage.damaged());
        fs::write(stage.config(), text)?;
        Ok(stage)
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.path().join("jarvis.toml")
    }

    fn damaged(&self) -> PathBuf {
        self.folder.path().join("damaged")
    }

    /// From now on, [`FAILS`] can't start.
    pub(super) fn damage(&self) -> Result<()> {
        Ok(fs::write(self.damaged(), "")?)
    }

    /// What to try while it runs.
    pub(super) fn invitation(&self) -> String {
        format!(
            "\nThe services keep running until Ctrl-C. In another terminal, try:\n\n  export JARVIS_CONFIG={}\n  jarvis status\n  jarvis restart daw-ui\n  jarvis events --follow\n",
            self.config().display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jarvis_core::config::{Config, Source};

    #[test]
    fn its_configuration_has_no_error_and_no_warning() {
        let stage = Stage::build().unwrap();
        let (config, report) = Config::inspect(&Source::empty().with_file(stage.config()));
        assert_eq!(report.to_string(), "");
        assert_eq!(config.unwrap().services.len(), PLAYERS.len());
    }
}

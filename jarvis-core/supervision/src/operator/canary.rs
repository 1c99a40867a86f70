//! The self-check: can this process still connect, spawn and open files?

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use base::clock::{ClockExt, SharedClock};

/// How long our own loopback may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// The share of descriptors that must be free, in percent.
const HEAD_ROOM: u64 = 5;

/// `Err` says what is wrong with this process.
pub(super) async fn self_check(clock: &SharedClock) -> Result<(), String> {
    descriptors()?;
    let tests = async {
        connect().await?;
        spawn().await
    };
    clock
        .until(clock.monotonic() + DEADLINE, tests)
        .await
        .unwrap_or_else(|| Err("our own loopback connection or a new process takes over 2s".into()))
}

/// How many descriptors are left.
fn descriptors() -> Result<(), String> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let open = match std::fs::read_dir("/proc/self/fd") {
        Ok(entries) => u64::try_from(entries.count()).unwrap_or(u64::MAX),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("failed to count our own descriptors: {error}")),
    };
    let Some(limit) = limit else { return Ok(()) };
    let left = limit.saturating_sub(open);
    if left.saturating_mul(100) < limit.saturating_mul(HEAD_ROOM) {
        return Err(format!("{open} of our {limit} descriptors are open"));
    }
    Ok(())
}

async fn connect() -> Result<(), String> {
    let explain = |error: std::io::Error| format!("our own loopback does not work: {error}");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(explain)?;
    let address = listener.local_addr().map_err(explain)?;
    let (client, served) = tokio::join!(TcpStream::connect(address), listener.accept());
    client.and(served).map(drop).map_err(explain)
}

/// A missing program is no failure: the process that looked for it could be started.
async fn spawn() -> Result<(), String> {
    let child = tokio::process::Command::new("true")
        .env_clear()
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .status()
        .await;
    match child {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("failed to start a process: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::SystemClock;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_healthy_process_passes() {
        let clock: SharedClock = Arc::new(SystemClock::new());
        assert_eq!(self_check(&clock).await, Ok(()));
    }
}

//! [`Heartbeat`]: somebody outside notices when JARVIS is gone.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use base::clock::{Monotonic, SharedClock};
use base::net::client::{HttpCall, HttpClient, WebUrl};
use base::net::tls::{PemFile, TlsPolicy};
use base::vocabulary::ConfigPath;
use base::{Error, ErrorKind, Result, Secret, units};

/// How long one ping may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// `[heartbeat]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HeartbeatConfig {
    /// Asked with GET. Treated as a secret: with most receivers it is one.
    pub url: Secret<String>,
    /// Never more often than this.
    #[serde(default = "minute", with = "units::duration")]
    pub every: Duration,
    /// The certificates (PEM) to trust, instead of the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<ConfigPath>,
}

const fn minute() -> Duration {
    Duration::from_secs(60)
}

impl HeartbeatConfig {
    /// That URL, that often at most.
    #[must_use]
    pub fn new(url: impl Into<String>, every: Duration) -> Self {
        Self { url: Secret::new(url.into()), every, ca_file: None }
    }
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
}

/// Pings a URL as long as rounds of probes are completed. Clones share it.
#[derive(Clone)]
pub struct Heartbeat {
    client: HttpClient,
    clock: SharedClock,
    url: WebUrl,
    every: Duration,
    ca_file: Option<ConfigPath>,
    rounds: watch::Sender<u64>,
    counts: Arc<Counts>,
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat")
            .field("receiver", &format_args!("{}", self.url))
            .field("every", &self.every)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl Heartbeat {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// `ConfigInvalid` for a URL that is not http or https, a `ca_file` that can't be used, or an
    /// `every` under a second.
    pub fn new(config: &HeartbeatConfig, clock: SharedClock) -> Result<Self> {
        if config.every < Duration::from_secs(1) {
            return Err(Error::new(ErrorKind::ConfigInvalid, "every must be at least 1s"));
        }
        let url = WebUrl::parse(&config.url)?;
        let authorities = config.ca_file.as_ref().map(|path| PemFile::new("ca_file", &**path));
        Ok(Self {
            client: HttpClient::new(&TlsPolicy::trusting(authorities), clock.clone())?,
            clock,
            url,
            every: config.every,
            ca_file: config.ca_file.clone(),
            rounds: watch::Sender::new(0),
            counts: Arc::default(),
        })
    }

    /// Would the other one ping the same receiver as often?
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let what = |it: &Self| (it.url.clone(), it.every, it.ca_file.clone());
        what(self) == what(other)
    }

    /// A full round of probes is done. Never waits.
    pub fn round_done(&self) {
        self.rounds.send_modify(|rounds| *rounds = rounds.wrapping_add(1));
    }

    /// Pings that were answered, and pings that failed.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.counts.sent.load(Ordering::Relaxed), self.counts.failed.load(Ordering::Relaxed))
    }

    /// Pings after each round, at most every so often, until told otherwise.
    pub async fn run(&self, until: impl Future<Output = ()> + Send) {
        tokio::select! {
            biased;
            () = until => {}
            () = self.beat() => {}
        }
    }

    async fn beat(&self) {
        let mut rounds = self.rounds.subscribe();
        // What was done before we began counts too.
        if *rounds.borrow() > 0 {
            rounds.mark_changed();
        }
        let mut not_before = Monotonic::default();
        while rounds.changed().await.is_ok() {
            self.clock.sleep_until(not_before).await;
            not_before = self.clock.monotonic() + self.every;
            rounds.borrow_and_update();
            match self.ping().await {
                Ok(()) => drop(self.counts.sent.fetch_add(1, Ordering::Relaxed)),
                Err(error) => {
                    self.counts.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "the heartbeat did not arrive");
                }
            }
        }
    }

    async fn ping(&self) -> Result<()> {
        let call = HttpCall::get(&self.url).with_timeout(DEADLINE);
        self.client.call(call).await.map(drop)
    }
}

//! Operations on every master: scanning all keys, and removing many.

use std::sync::Arc;

use redis::{FromRedisValue, Value};

use super::command::{Command, Effect};
use super::link::Link;
use super::{Redis, Servers, failure};
use crate::Result;

/// How many keys one `UNLINK`, or one round trip of them, removes.
const BATCH: usize = 500;

/// A server that holds keys.
#[derive(Debug, Clone)]
pub struct Master(Arc<Link>);

impl Redis {
    /// The servers that together hold all keys.
    #[doc(hidden)]
    pub async fn masters(&self, operation: &'static str) -> Result<Vec<Master>> {
        self.check_process()?;
        match &self.shared.servers {
            Servers::One(link) => Ok(vec![Master(Arc::clone(link))]),
            Servers::Cluster(cluster) => {
                let links = cluster.masters(self.deadline()).await;
                let links = links.map_err(|error| error.with_operation(operation))?;
                Ok(links.into_iter().map(Master).collect())
            }
        }
    }

    /// Sends a command to this server, wherever its keys are.
    #[doc(hidden)]
    pub async fn query_at<T: FromRedisValue>(
        &self,
        master: &Master,
        operation: &'static str,
        command: impl Into<Command>,
        effect: Effect,
    ) -> Result<T> {
        let command = command.into();
        let answer = super::ask_one(&master.0, &command, effect, self.deadline()).await;
        answer
            .and_then(|told| failure::read(master.0.name(), told.value))
            .map_err(|error| error.with_operation(operation))
    }

    /// Some keys of this server that match a pattern (`jarvis:*`), and where to go on; from
    /// cursor 0 until it is 0 again. About `count` keys are looked at. A key may come twice.
    #[doc(hidden)]
    pub async fn scan(
        &self,
        master: &Master,
        operation: &'static str,
        (cursor, count): (u64, usize),
        pattern: &str,
    ) -> Result<(u64, Vec<Vec<u8>>)> {
        let scan = Command::new("SCAN").arg(cursor).arg("MATCH").arg(pattern);
        let scan = scan.arg("COUNT").arg(count);
        self.query_at(master, operation, scan, Effect::Read).await
    }

    /// Removes keys wherever they are, in batches, without blocking the server; how many were
    /// there.
    #[doc(hidden)]
    pub async fn unlink<K: AsRef<[u8]>>(&self, operation: &'static str, keys: &[K]) -> Result<u64> {
        let mut removed = 0;
        for batch in keys.chunks(BATCH) {
            let commands: Vec<Command> = match self.shared.servers {
                Servers::One(_) => {
                    let unlink = Command::new("UNLINK");
                    vec![batch.iter().fold(unlink, |command, key| command.arg(key.as_ref()))]
                }
                // Keys of several slots can't go into one command, though they are on one node.
                Servers::Cluster(_) => {
                    let unlink = |key: &K| Command::new("UNLINK").arg(key.as_ref());
                    batch.iter().map(unlink).collect()
                }
            };
            for answer in self.pipeline::<u64>(operation, &commands, Effect::Idempotent).await {
                removed += answer?;
            }
        }
        Ok(removed)
    }

    /// The version of the server, such as `7.0.15`.
    #[doc(hidden)]
    pub async fn version(&self, operation: &'static str) -> Result<String> {
        let info = Command::new("INFO").arg("server");
        let info: Value = self.query(operation, info, Effect::Read).await?;
        let info: String = failure::read(&self.shared.shown, info)?;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(version.unwrap_or("unknown").trim().to_owned())
    }
}

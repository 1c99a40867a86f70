//! [`CacheServer`]: what `INFO` of the server behind the cache says.

use serde::{Deserialize, Serialize};

use base::Result;
use base::store::redis::{Command, Effect, Redis};

const OPERATION: &str = "jarvis.cache_server";

/// A Redis as it sees itself, whoever uses it; the sum of all masters of a Cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CacheServer {
    /// Where it is, without secrets.
    pub url: String,
    /// Its version; of a Cluster, that of the first master.
    pub version: String,
    /// How many masters there are.
    pub masters: usize,
    /// Keys in all its databases, of all namespaces and programs.
    pub keys: u64,
    /// What they take, in bytes.
    pub used_memory: u64,
    /// What they may take, in bytes; absent where there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<u64>,
    /// What goes when that is full, such as `allkeys-lru`; `noeviction` refuses writes instead.
    pub eviction_policy: String,
    /// Reads of all programs that found a key, since it was started.
    pub hits: u64,
    /// Those that found none.
    pub misses: u64,
    /// Keys that ran out.
    pub expired: u64,
    /// Keys that had to go before their time.
    pub evicted: u64,
}

impl CacheServer {
    pub(super) async fn ask(redis: &Redis) -> Result<Self> {
        let mut all = Self { url: redis.url().to_owned(), ..Self::default() };
        for master in redis.masters(OPERATION).await? {
            let info = Command::new("INFO").arg(&["server", "memory", "stats", "keyspace"]);
            let info: String = redis.query_at(&master, OPERATION, info, Effect::Read).await?;
            all.add(&info);
        }
        Ok(all)
    }

    fn add(&mut self, info: &str) {
        let text = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
        let sum = |name: &str| number(name).unwrap_or_default();
        if self.masters == 0 {
            self.version = text("redis_version").unwrap_or("unknown").to_owned();
            self.eviction_policy = text("maxmemory_policy").unwrap_or("unknown").to_owned();
        }
        self.masters += 1;
        self.keys += info.lines().filter_map(keys_of).sum::<u64>();
        self.used_memory += sum("used_memory");
        if let Some(limit) = number("maxmemory").filter(|limit| *limit > 0) {
            *self.max_memory.get_or_insert(0) += limit;
        }
        self.hits += sum("keyspace_hits");
        self.misses += sum("keyspace_misses");
        self.expired += sum("expired_keys");
        self.evicted += sum("evicted_keys");
    }
}

/// The keys of a line such as `db0:keys=12,expires=3,avg_ttl=0`.
fn keys_of(line: &str) -> Option<u64> {
    let (database, rest) = line.strip_prefix("db")?.split_once(':')?;
    database.parse::<u16>().ok()?;
    rest.split(',').find_map(|part| part.strip_prefix("keys="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_masters_of_a_cluster_are_added_up() {
        let info = "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nused_memory:100\r\nused_memory_human:1K\r\nmaxmemory:500\r\nmaxmemory_policy:allkeys-lru\r\n# Stats\r\nkeyspace_hits:7\r\nkeyspace_misses:3\r\nexpired_keys:2\r\nevicted_keys:1\r\n# Keyspace\r\ndb0:keys=12,expires=3,avg_ttl=0\r\ndb1:keys=1,expires=0,avg_ttl=0\r\n";
        let mut server = CacheServer::default();
        server.add(info);
        server.add(&info.replace("maxmemory:500", "maxmemory:0"));
        assert_eq!(server.version, "7.0.15");
        assert_eq!((server.masters, server.keys, server.used_memory), (2, 26, 200));
        assert_eq!((server.max_memory, server.hits, server.evicted), (Some(500), 14, 2));
        assert_eq!(server.eviction_policy, "allkeys-lru");
    }
}

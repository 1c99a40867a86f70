//! One [`Redis`] a URL: what a configuration keeps on one server shares its connections.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Result;
use base::clock::SharedClock;
use base::store::redis::{Options, Redis};
use base::sync::Mutex;

/// The schemes of its URLs.
pub(super) const SCHEMES: &[&str] = &[
    "redis",
    "rediss",
    "unix",
    "redis+cluster",
    "rediss+cluster",
    "redis+sentinel",
    "rediss+sentinel",
];

/// The handles that were opened so far. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct RedisHandles(Arc<Mutex<BTreeMap<(u32, String), Redis>>>);

impl RedisHandles {
    /// The handle of this URL. Connects nothing.
    ///
    /// # Errors
    /// `InvalidInput` for a wrong URL.
    pub(crate) fn open(&self, url: &str, clock: &SharedClock) -> Result<Redis> {
        // A handle does not survive a fork: the child opens its own.
        let key = (std::process::id(), url.to_owned());
        let mut handles = self.0.lock();
        if let Some(handle) = handles.get(&key) {
            return Ok(handle.clone());
        }
        let handle = Redis::open(url, &Options::new(), clock.clone())?;
        handles.insert(key, handle.clone());
        Ok(handle)
    }

    /// Those of this process.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "only a scrape asks"))]
    pub(crate) fn all(&self) -> Vec<Redis> {
        let handles = self.0.lock();
        let ours = handles.iter().filter(|((process, _), _)| *process == std::process::id());
        ours.map(|(_, handle)| handle.clone()).collect()
    }
}

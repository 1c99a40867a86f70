//! A changed configuration: checked as a whole, applied as a whole, or refused as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Current, Jarvis, REMEMBERED_SECRETS};
use crate::config::Config;
use base::events::Event;
use base::vocabulary::ServiceId;
use base::{Error, ErrorKind, Result};
use supervision::health::aggregator::validate_services;
use supervision::operator::Calendar;

impl Jarvis {
    /// Reads the configuration again and puts it in force. Services that did not change keep what
    /// is known about them; an action in flight for a removed one is finished.
    ///
    /// Gives a line for each change. `[lease]`, `[store]`, `[session]`, `[cache]` and `http` are
    /// named and take effect at the next start; `state_dir` can't be changed.
    ///
    /// # Errors
    /// `ConfigInvalid` with every error; the configuration in force stays.
    pub async fn reload(&self) -> Result<Vec<String>> {
        let result = self.try_reload().await;
        let event = match &result {
            Ok(changes) => Event::ConfigReloaded { changes: changes.clone() },
            Err(error) => Event::ConfigRefused { reason: error.to_string() },
        };
        if let Some(alerts) = self.inner.alerts.get()
            && let Err(error) = alerts.accept(&event).await
        {
            tracing::warn!(%error, "the state of the alerts could not be written");
        }
        self.bus().publish(event).await?;
        result
    }

    async fn try_reload(&self) -> Result<Vec<String>> {
        let inner = &self.inner;
        let old = self.current();
        let config = Config::load(&inner.source)?;
        if let Some(file) = old.config.file()
            && config.file().is_none()
        {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                format!("the configuration file is gone: {}; put it back", file.display()),
            )
            .with_operation("jarvis.reload"));
        }
        if config.jarvis.state_dir != old.config.jarvis.state_dir {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                "state_dir cannot change while JARVIS is running; stop JARVIS, move the directory, then start it again",
            )
            .with_operation("jarvis.reload"));
        }
        let wiring = inner.extras.wire(&inner.registry, &config, &inner.clock)?;
        // Whatever may still refuse it comes before the first part that takes it over.
        validate_services(&wiring.services)?;
        Calendar::new(&wiring.settings.maintenance)?;
        if let Some(alerts) = inner.alerts.get() {
            alerts.configure(wiring.sinks.clone(), wiring.depends_on.clone())?;
        }
        inner.health.apply(wiring.services.clone())?;
        if let Some(operator) = inner.operator.get() {
            operator.reconfigure(wiring.managed.clone(), wiring.settings.clone())?;
        }
        let changes = differences(&old.config, &config);
        let mut next = Current {
            secrets: vec![config.secrets()],
            config: Arc::new(config),
            wiring: Arc::new(wiring),
        };
        let before = {
            let mut current = self.lock();
            let earlier = current.secrets.iter().take(REMEMBERED_SECRETS - 1).cloned();
            next.secrets.extend(earlier);
            std::mem::replace(&mut *current, next)
        };
        // It may be another reload's, and its probes and sinks go with it: not under the lock.
        drop(before);
        inner.reloads.send_modify(|count| *count = count.wrapping_add(1));
        Ok(changes)
    }
}

/// A line for each difference.
fn differences(old: &Config, new: &Config) -> Vec<String> {
    let services = |config: &Config| -> BTreeMap<ServiceId, String> {
        let text = |section: &crate::config::Section| section.written().to_string();
        config.services.iter().map(|service| (service.id.clone(), text(&service.section))).collect()
    };
    let (before, after) = (services(old), services(new));
    let mut lines = Vec::new();
    for (id, text) in &after {
        match before.get(id) {
            None => lines.push(format!("{id} is new")),
            Some(earlier) if earlier != text => lines.push(format!("{id} changed")),
            Some(_) => {}
        }
    }
    lines.extend(
        before.keys().filter(|id| !after.contains_key(*id)).map(|id| format!("{id} is gone")),
    );
    lines.extend(sections(old, new));
    if lines.is_empty() {
        lines.push("nothing changed".to_owned());
    }
    lines
}

/// A line for each section beside the services that differs, and for the keys of `[jarvis]` that
/// stand for themselves.
fn sections(old: &Config, new: &Config) -> Vec<String> {
    let written = |config: &Config, key: &str| {
        config.root().table().get(key).map(|entry| entry.node.written().to_string())
    };
    let differs = |key: &str| written(old, key) != written(new, key);
    let mut lines = Vec::new();
    let (before, after) = (&old.jarvis, &new.jarvis);
    if before.mode != after.mode {
        lines.push(format!("mode is {} now", after.mode));
    }
    if before.kill_switch != after.kill_switch {
        lines.push(format!("the kill switch is {} now", after.kill_switch.display()));
    }
    if before.http != after.http {
        lines.push("[jarvis] http changed; it takes effect at the next start".to_owned());
    }
    let at_once = ["limits", "allow", "maintenance", "heartbeat", "alert"];
    lines.extend(at_once.iter().filter(|key| differs(key)).map(|key| format!("[{key}] changed")));
    let later =
        ["lease", "store", "bus", "session", "cache"].into_iter().filter(|key| differs(key));
    lines.extend(later.map(|key| format!("[{key}] changed; it takes effect at the next start")));
    lines
}

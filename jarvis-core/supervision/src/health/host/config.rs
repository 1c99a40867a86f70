//! What a host check measures, and where it gets worried.

use serde::{Deserialize, Serialize};

use base::units;
use base::vocabulary::ConfigPath;

/// Two levels with a way back, in percent: worse at `degraded` and at `down`, better again below
/// `clear`, and from down to degraded as far below `down` as `clear` is below `degraded`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LevelsConfig {
    /// Degraded from here on.
    #[serde(default = "degraded", with = "units::percent")]
    pub degraded: f64,
    /// Down from here on.
    #[serde(default = "down", with = "units::percent")]
    pub down: f64,
    /// Well again below this.
    #[serde(default = "clear", with = "units::percent")]
    pub clear: f64,
}

fn degraded() -> f64 {
    85.0
}

fn down() -> f64 {
    95.0
}

fn clear() -> f64 {
    80.0
}

impl LevelsConfig {
    /// These levels, in percent.
    #[must_use]
    pub const fn new(degraded: f64, down: f64, clear: f64) -> Self {
        Self { degraded, down, clear }
    }
}

impl Default for LevelsConfig {
    fn default() -> Self {
        Self::new(degraded(), down(), clear())
    }
}

/// The disk that a path is on: its room and its inodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DiskConfig {
    /// Any path on it.
    pub path: ConfigPath,
    /// Degraded from here on.
    #[serde(default = "degraded", with = "units::percent")]
    pub degraded: f64,
    /// Down from here on.
    #[serde(default = "down", with = "units::percent")]
    pub down: f64,
    /// Well again below this.
    #[serde(default = "clear", with = "units::percent")]
    pub clear: f64,
}

impl DiskConfig {
    /// The disk that this path is on, with the usual levels.
    #[must_use]
    pub fn new(path: impl Into<ConfigPath>) -> Self {
        Self { path: path.into(), degraded: degraded(), down: down(), clear: clear() }
    }

    pub(super) fn levels(&self) -> LevelsConfig {
        LevelsConfig::new(self.degraded, self.down, self.clear)
    }
}

/// `type = "host"`. Without any of its tables: the disk of `/`, memory and descriptors at the
/// usual levels (85 %, 95 %, clear below 80 %).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    /// Disks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disk: Vec<DiskConfig>,
    /// Memory that is not available for new work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<LevelsConfig>,
    /// CPU time of all cores, or of the cgroup's quota, between two probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<LevelsConfig>,
    /// File descriptors, of the machine and of JARVIS itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptors: Option<LevelsConfig>,
}

impl HostConfig {
    /// What is measured when nothing is said.
    #[must_use]
    pub(super) fn or_defaults(self) -> Self {
        if self != Self::default() {
            return self;
        }
        let levels = Some(LevelsConfig::default());
        Self { disk: vec![DiskConfig::new("/")], memory: levels, cpu: None, descriptors: levels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_people_write_them() {
        let config: HostConfig = toml::from_str(
            "memory = { degraded = \"80%\", down = \"95%\", clear = \"75%\" }\n[[disk]]\npath = \"/data\"\ndown = 90",
        )
        .unwrap();
        assert_eq!(config.memory, Some(LevelsConfig::new(80.0, 95.0, 75.0)));
        assert_eq!(config.disk[0].levels(), LevelsConfig::new(85.0, 90.0, 80.0));
        assert!(toml::from_str::<HostConfig>("swap = {}").is_err());
        assert_eq!(HostConfig::default().or_defaults().disk.len(), 1);
    }
}

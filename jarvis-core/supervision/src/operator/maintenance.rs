//! Planned work: windows in which nothing is begun and no incident is opened.

use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use globset::{Glob, GlobSet};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use base::clock::WallTime;
use base::units;
use base::vocabulary::ServiceId;
use base::{Error, ErrorKind, Result};

/// A window that returns: one `[[maintenance]]` section.
///
/// The pattern is read in its time zone. Where the clocks go forward, a start in the missing hour
/// is moved to after it; where they go back, the window opens once. Its length is elapsed time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MaintenanceWindow {
    /// Names or globs of services.
    #[serde(default = "everything")]
    pub services: Vec<String>,
    /// When it opens: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// How long it stays open.
    #[serde(with = "units::duration")]
    pub duration: Duration,
    /// The time zone's name (`Europe/Berlin`).
    #[serde(default = "utc")]
    pub tz: String,
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

fn utc() -> String {
    "UTC".to_owned()
}

impl MaintenanceWindow {
    /// A window for every service, in UTC.
    #[must_use]
    pub fn new(cron: impl Into<String>, duration: Duration) -> Self {
        Self { services: everything(), cron: cron.into(), duration, tz: utc() }
    }

    /// Names the services.
    #[must_use]
    pub fn with_services(mut self, services: Vec<String>) -> Self {
        self.services = services;
        self
    }

    /// Names the time zone.
    #[must_use]
    pub fn with_time_zone(mut self, tz: impl Into<String>) -> Self {
        self.tz = tz.into();
        self
    }
}

#[derive(Debug)]
struct Entry {
    services: GlobSet,
    cron: Cron,
    duration: Duration,
    tz: TimeZone,
}

/// All the windows, read and checked.
#[derive(Debug, Default)]
pub struct Calendar(Vec<Entry>);

impl Calendar {
    /// Reads the windows.
    ///
    /// # Errors
    /// `ConfigInvalid` for a pattern, a zone, a glob or a length that can't be.
    pub fn new(windows: &[MaintenanceWindow]) -> Result<Self> {
        windows.iter().map(Entry::new).collect::<Result<_>>().map(Self)
    }

    /// When the window that is open for this service now closes; the latest of several.
    #[must_use]
    pub fn open_until(&self, service: &ServiceId, now: WallTime) -> Option<WallTime> {
        self.0
            .iter()
            .filter(|entry| entry.services.is_match(service.as_str()))
            .filter_map(|entry| entry.open_until(now))
            .max()
    }
}

impl Entry {
    fn new(window: &MaintenanceWindow) -> Result<Self> {
        let refuse = |message: String| Error::new(ErrorKind::ConfigInvalid, message);
        let cron = Cron::from_str(&window.cron).map_err(|error| {
            refuse(format!(
                "maintenance: {:?} is not a valid cron pattern such as \"0 2 * * SUN\" ({error})",
                window.cron
            ))
        })?;
        let tz = TimeZone::get(&window.tz).map_err(|error| {
            refuse(format!(
                "maintenance: {:?} is not a valid time zone such as \"Europe/Berlin\"",
                window.tz
            ))
            .with_source(error)
        })?;
        if window.duration.is_zero() {
            return Err(refuse("maintenance: duration must be longer than 0s".into()));
        }
        let mut services = GlobSet::builder();
        for pattern in &window.services {
            services.add(Glob::new(pattern).map_err(|error| {
                refuse(format!("maintenance: {pattern:?} is not a valid service pattern: {error}"))
            })?);
        }
        let services = services
            .build()
            .map_err(|error| refuse(format!("maintenance: invalid services: {error}")))?;
        Ok(Self { services, cron, duration: window.duration, tz })
    }

    fn open_until(&self, now: WallTime) -> Option<WallTime> {
        let local = Timestamp::from_millisecond(now.millis()).ok()?.to_zoned(self.tz.clone());
        let opened = self.cron.find_previous_occurrence(&local, true).ok()?;
        let opened = opened.timestamp();
        let until = WallTime::from_millis(opened.as_millisecond()) + self.duration;
        (now < until).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(window: MaintenanceWindow, now: &str) -> Option<String> {
        let calendar = Calendar::new(&[window]).unwrap();
        calendar
            .open_until(&ServiceId::new("api").unwrap(), now.parse().unwrap())
            .map(|until| until.to_string())
    }

    fn berlin(cron: &str, hours: u64) -> MaintenanceWindow {
        MaintenanceWindow::new(cron, Duration::from_secs(hours * 3_600))
            .with_time_zone("Europe/Berlin")
    }

    #[test]
    fn a_window_opens_and_closes_in_its_zone() {
        let window = || berlin("0 2 * * SUN", 1);
        assert_eq!(open(window(), "2026-01-04T00:59:59Z"), None);
        assert_eq!(open(window(), "2026-01-04T01:00:00Z").unwrap(), "2026-01-04T02:00:00.000Z");
        assert_eq!(open(window(), "2026-01-04T01:59:59Z").unwrap(), "2026-01-04T02:00:00.000Z");
        assert_eq!(open(window(), "2026-01-04T02:00:00Z"), None);
        assert_eq!(open(window(), "2026-01-05T01:30:00Z"), None);
        assert_eq!(open(window().with_services(vec!["db*".into()]), "2026-01-04T01:30:00Z"), None);
    }

    /// 2026-03-29 02:00 to 03:00 does not exist in Berlin.
    #[test]
    fn a_start_in_the_missing_hour_still_opens_and_keeps_its_length() {
        let window = || berlin("30 2 * * SUN", 1);
        assert_eq!(open(window(), "2026-03-29T00:59:00Z"), None);
        let until = open(window(), "2026-03-29T01:40:00Z").expect("open after the missing hour");
        assert!(until.as_str() <= "2026-03-29T02:30:00.000Z", "{until}");
        assert_eq!(open(window(), "2026-03-29T02:40:00Z"), None);
    }

    /// 2026-10-25 02:00 to 03:00 happens twice in Berlin: 00:00Z to 01:00Z, then to 02:00Z.
    #[test]
    fn a_start_in_the_repeated_hour_opens_once() {
        let window = || berlin("30 2 * * SUN", 1);
        let opened: Vec<i64> = (0..240)
            .map(|minute| {
                "2026-10-24T23:30:00Z".parse::<WallTime>().unwrap()
                    + Duration::from_secs(minute * 60)
            })
            .filter(|now| {
                Calendar::new(&[window()])
                    .unwrap()
                    .open_until(&ServiceId::new("a").unwrap(), *now)
                    .is_some()
            })
            .map(WallTime::millis)
            .collect();
        assert_eq!(opened.len(), 60, "one hour in total");
        assert_eq!(opened.last().unwrap() - opened[0], 59 * 60_000, "in one piece");
    }

    #[test]
    fn what_cannot_be_is_refused_with_an_example() {
        let hour = Duration::from_secs(3_600);
        for window in [
            MaintenanceWindow::new("at night", hour),
            MaintenanceWindow::new("0 2 * * *", hour).with_time_zone("Middle/Earth"),
            MaintenanceWindow::new("0 2 * * *", Duration::ZERO),
            MaintenanceWindow::new("0 2 * * *", hour).with_services(vec!["a[".into()]),
        ] {
            assert_eq!(Calendar::new(&[window]).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        }
    }
}

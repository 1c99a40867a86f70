//! [`SlidingWindow`]: at most N events in any interval of a given length.

use std::collections::VecDeque;
use std::time::Duration;

/// The times of the last events, oldest first, as an OTP supervisor keeps them.
///
/// A fixed window lets twice its budget through around a border; this one does not: in no
/// interval as long as the window lie more than `max` counted events. Times are durations since
/// any fixed point, and may arrive out of order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlidingWindow {
    times: VecDeque<Duration>,
}

impl SlidingWindow {
    /// An empty window.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many events lie within `window` before `now`. An event is out when it is exactly that
    /// old; one from the future is in.
    #[must_use]
    pub fn count(&self, now: Duration, window: Duration) -> usize {
        self.times
            .iter()
            .rev()
            .take_while(|time| now.saturating_sub(**time) < window || **time >= now)
            .count()
    }

    /// How long until one more event fits into `max` a `window`; zero when it fits now, `None`
    /// when `max` is zero.
    #[must_use]
    pub fn wait(&self, now: Duration, max: usize, window: Duration) -> Option<Duration> {
        if max == 0 {
            return None;
        }
        let used = self.count(now, window);
        if used < max {
            return Some(Duration::ZERO);
        }
        let blocking = self.times.len() - max;
        self.times.get(blocking).map(|time| (*time + window).saturating_sub(now))
    }

    /// Counts an event.
    pub fn record(&mut self, time: Duration) {
        let at = self.times.partition_point(|earlier| *earlier <= time);
        self.times.insert(at, time);
    }

    /// Forgets what is older than the longest window anybody asks about.
    pub fn prune(&mut self, now: Duration, longest: Duration) {
        while self.times.front().is_some_and(|time| *time <= now && now - *time >= longest) {
            self.times.pop_front();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.times.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_border_does_not_double_the_budget() {
        let mut window = SlidingWindow::new();
        for time in [298, 299, 300] {
            assert_eq!(window.wait(secs(time), 3, secs(300)), Some(Duration::ZERO));
            window.record(secs(time));
        }
        assert_eq!(window.wait(secs(301), 3, secs(300)), Some(secs(297)));
        assert_eq!(window.wait(secs(598), 3, secs(300)), Some(Duration::ZERO));
        assert_eq!(window.wait(secs(0), 0, secs(300)), None);
    }

    proptest! {
        #[test]
        fn never_more_than_max_in_any_window(steps in prop::collection::vec(0_u64..120, 1..200), max in 1_usize..5) {
            let (mut window, mut now, mut granted) = (SlidingWindow::new(), Duration::ZERO, Vec::new());
            for step in steps {
                now += secs(step);
                if window.wait(now, max, secs(300)) == Some(Duration::ZERO) {
                    window.record(now);
                    granted.push(now);
                }
                window.prune(now, secs(300));
            }
            for start in &granted {
                let within = granted.iter().filter(|time| *time >= start && **time - *start < secs(300)).count();
                prop_assert!(within <= max);
            }
        }
    }
}

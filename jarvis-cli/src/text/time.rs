//! Durations for people.

use std::fmt::Write as _;
use std::time::Duration;

/// A duration in at most six columns: `7ms`, `4.2s`, `3m20s`, `2h05m`, `3d04h`.
pub(crate) fn short_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.subsec_millis()),
        1..=9 => format!("{:.1}s", duration.as_secs_f64()),
        10..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A duration as people say it: `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let pair = |big: u64, big_unit: &str, small: u64, small_unit: &str| {
        let mut text = format!("{big} {big_unit}");
        if small > 0 {
            let _ = write!(text, " {small} {small_unit}");
        }
        text
    };
    match seconds {
        0 if duration.subsec_millis() < 1 => format!("{} µs", duration.subsec_micros()),
        0 => format!("{} ms", duration.subsec_millis()),
        1..=9 => format!("{:.1} s", duration.as_secs_f64()),
        10..=59 => format!("{seconds} s"),
        60..=3_599 => pair(seconds / 60, "min", seconds % 60, "s"),
        3_600..=86_399 => pair(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => pair(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        let shown: Vec<String> = [1, 999, 4_200, 42_000, 200_000, 7_500_000, 270_000_000]
            .map(|millis| human_duration(Duration::from_millis(millis)))
            .to_vec();
        assert_eq!(
            shown,
            ["1 ms", "999 ms", "4.2 s", "42 s", "3 min 20 s", "2 h 5 min", "3 d 3 h"]
        );
    }
}

//! The statistics of the cache's server, for people.

use std::fmt::Write as _;

use jarvis_core::jarvis::CacheServer;

use crate::printer::{Style, paint};

/// The statistics, one per line.
pub(crate) fn stats(namespace: &str, server: &CacheServer, colored: bool) -> String {
    let mut text = paint(
        &format!(
            "{}, Redis {}, all clients since the server started\n\n",
            server.url, server.version
        ),
        Style::Bold,
        colored,
    );
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{} {value}", paint(&format!("{name:<10}"), Style::Faint, colored));
    };
    if server.masters > 1 {
        line("masters", &server.masters.to_string());
    }
    line("keys", &server.keys.to_string());
    line("memory", &memory(server));
    line("hits", &server.hits.to_string());
    line("misses", &server.misses.to_string());
    if let Some(percent) = (server.hits * 100).checked_div(server.hits + server.misses) {
        line("hit rate", &format!("{percent} %"));
    }
    line("expired", &server.expired.to_string());
    line("evicted", &server.evicted.to_string());
    line("namespace", namespace);
    text.push_str(&paint(
        "\nEach process reports its own hits and misses in its /metrics.\n",
        Style::Faint,
        colored,
    ));
    text
}

fn memory(server: &CacheServer) -> String {
    let used = bytes(server.used_memory);
    match server.max_memory {
        None => format!("{used}, no limit"),
        Some(limit) => {
            format!("{used} of {}, eviction policy {}", bytes(limit), server.eviction_policy)
        }
    }
}

/// `512 B`, `1.5 MiB`.
fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    #[expect(clippy::cast_precision_loss, reason = "a size for people")]
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_say_them() {
        let shown = [0, 1023, 1024, 1_572_864, 5 << 30].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 GiB"]);
    }
}

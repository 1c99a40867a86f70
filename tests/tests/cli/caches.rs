//! `jarvis cache` on a real Redis, Cluster and Sentinel set, with and without near copies.

use std::io::Write as _;
use std::process::Stdio;

use jarvis_core::cache::{CacheExt as _, CacheValue, SetOptions};
use jarvis_core::config::Source;
use jarvis_core::jarvis::Jarvis;
use jarvis_tests::cli::{Finished, Workplace};
use serde_json::Value;

/// A namespace of one test's own on the Redis that all share.
struct Place {
    work: Workplace,
    text: String,
}

impl Place {
    fn new() -> Self {
        Self::at(&super::redis_url(), false)
    }

    /// Everything that commands may be pointed at.
    fn all() -> Vec<Self> {
        let urls = super::redis_urls();
        urls.iter().flat_map(|url| [Self::at(url, false), Self::at(url, true)]).collect()
    }

    fn at(url: &str, near: bool) -> Self {
        let work = Workplace::empty();
        let namespace = work.path().file_name().unwrap().to_string_lossy().replace('.', "");
        let text = format!(
            "[store]\ncache = \"{url}\"\n[cache]\nnamespace = \"{namespace}\"\nnear = {near}\nmax_value_bytes = \"1KiB\"\n"
        );
        work.write("jarvis.toml", &text);
        Self { work, text }
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let mut all = vec!["cache"];
        all.extend(arguments);
        self.work.run(&all)
    }

    /// Runs what has to work, and gives its JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        let finished = self.run(&all);
        assert_eq!(finished.code, 0, "{arguments:?}: {finished:?}");
        finished.json()
    }

    fn fed(&self, arguments: &[&str], input: &[u8]) -> std::process::Output {
        let mut child = self.work.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }
}

#[test]
fn a_value_is_stored_read_and_removed() {
    for place in Place::all() {
        let none = place.run(&["get", "song"]);
        assert_eq!((none.code, none.stdout.as_str()), (1, ""), "{none:?}");
        assert!(none.stderr.contains("\"song\""), "{none:?}");
        assert_eq!(place.json(&["set", "song", "la la", "--ttl", "30m"])["stored"], true);
        let read = place.run(&["get", "song"]);
        assert_eq!((read.code, read.stdout.as_str()), (0, "la la"), "the value and nothing else");
        let read = place.json(&["get", "song"]);
        assert_eq!(read["value"], "la la");
        let ttl = read["ttl_ms"].as_u64().unwrap();
        assert!((1_790_000..=1_800_000).contains(&ttl), "{ttl}");
        let deleted = place.run(&["delete", "song", "other"]);
        assert_eq!(deleted.code, 1, "{deleted:?}");
        assert_eq!(deleted.stdout, "1 key deleted, 1 not found\n");
        place.json(&["set", "song", "x", "--persist"]);
        assert!(place.json(&["get", "song"])["ttl_ms"].is_null());
        assert_eq!(place.json(&["delete", "song"])["deleted"], 1);
    }
}

#[test]
fn conditions_decide_and_are_told() {
    for place in Place::all() {
        let xx = place.run(&["set", "k", "1", "--xx"]);
        assert_eq!(xx.code, 1, "{xx:?}");
        assert!(xx.stderr.contains("does not exist"), "{xx:?}");
        assert_eq!(place.run(&["set", "k", "1", "--nx"]).code, 0);
        let nx = place.run(&["set", "k", "2", "--nx"]);
        assert_eq!(nx.code, 1, "{nx:?}");
        assert!(nx.stderr.contains("already exists"), "{nx:?}");
        assert_eq!(place.run(&["set", "k", "3", "--xx"]).code, 0);
        assert_eq!(place.run(&["get", "k"]).stdout, "3");
    }
}

#[test]
fn any_bytes_go_in_and_come_out_as_they_were() {
    let place = Place::new();
    let bytes = [0_u8, 255, 10, 13, 128, 10];
    let stored = Finished::from(place.fed(&["cache", "set", "k", "-"], &bytes));
    assert_eq!(stored.code, 0, "{stored:?}");
    let output = place.work.command(&["cache", "get", "k"]).output().unwrap();
    assert_eq!(output.stdout, bytes);
    assert_eq!(place.json(&["get", "k"])["value_base64"], "AP8KDYAK");
    std::fs::write(place.work.path().join("value"), bytes).unwrap();
    assert_eq!(place.run(&["set", "k2", "@value"]).code, 0);
    assert_eq!(place.work.command(&["cache", "get", "k2"]).output().unwrap().stdout, bytes);
    let large = Finished::from(place.fed(&["cache", "set", "k", "-"], &[1; 2_000]));
    assert_eq!(large.code, 1, "{large:?}");
    assert!(large.stderr.contains("1024 bytes"), "{large:?}");
}

#[test]
fn tags_and_patterns_remove_what_they_name_and_the_rest_stays() {
    for place in Place::all() {
        for (key, tag) in [("song:1", "ada"), ("song:2", "bob"), ("mix:1", "ada")] {
            assert_eq!(place.run(&["set", key, "x", "--tag", tag, "--tag", "all"]).code, 0);
        }
        assert_eq!(place.json(&["invalidate", "--tag", "ada"])["tag"], "ada");
        assert_eq!(place.run(&["get", "song:1"]).code, 1);
        assert_eq!(place.run(&["get", "mix:1"]).code, 1);
        assert_eq!(place.run(&["get", "song:2"]).code, 0);
        place.json(&["set", "song:3", "x"]);
        place.json(&["set", "mix:2", "x"]);
        assert_eq!(place.run(&["set", "song:3", "x"]).code, 0);
        let matched = place.json(&["invalidate", "--pattern", "song:[23]"]);
        assert_eq!(matched["deleted"], 2);
        assert_eq!(place.run(&["get", "song:2"]).code, 1);
        assert_eq!(place.run(&["get", "mix:2"]).code, 0);
        assert_eq!(place.run(&["invalidate", "--all"]).code, 0);
        assert_eq!(place.run(&["get", "mix:2"]).code, 1);
    }
}

#[test]
fn numbers_count_up_and_down_and_no_addition_is_lost() {
    for place in Place::all() {
        assert_eq!(place.run(&["incr", "n"]).stdout, "1\n");
        assert_eq!(place.json(&["incr", "n", "--by", "-11"])["value"], -10);
        assert_eq!(place.run(&["get", "n"]).stdout, "-10");
        let children: Vec<_> = (0..6)
            .map(|_| {
                place.work.command(&["cache", "incr", "plays", "--ttl", "1h"]).spawn().unwrap()
            })
            .collect();
        for child in children {
            assert_eq!(Finished::from(child.wait_with_output().unwrap()).code, 0);
        }
        assert_eq!(place.run(&["get", "plays"]).stdout, "6");
        place.json(&["set", "text", "abc"]);
        assert_eq!(place.run(&["incr", "text"]).code, 2);
    }
}

#[test]
fn stats_are_the_servers_and_hold_no_password() {
    for place in Place::all() {
        place.json(&["set", "k", "x"]);
        assert_eq!(place.run(&["get", "k"]).code, 0);
        let stats = place.json(&["stats"]);
        let server = &stats["server"];
        let masters = if place.text.contains("redis+cluster") { 3 } else { 1 };
        assert_eq!(server["masters"], masters, "{stats}");
        assert!(server["keys"].as_u64().unwrap() >= 1, "{stats}");
        assert!(server["hits"].as_u64().unwrap() >= 1, "{stats}");
        assert!(server["used_memory"].as_u64().unwrap() > 10_000, "{stats}");
        assert!(server["version"].as_str().unwrap().contains('.'), "{stats}");
        let text = place.run(&["stats"]).stdout;
        for word in ["keys", "memory", "hits", "evicted", "/metrics"] {
            assert!(text.contains(word), "{text}");
        }
    }
}

#[test]
fn wrong_usage_is_exit_2_and_a_server_that_is_gone_exit_3_at_once() {
    let memory = Workplace::with_config("[jarvis]\nstate_dir = \"STATE\"\n");
    for command in [&["cache", "get", "k"][..], &["cache", "stats"], &["cache", "incr", "k"]] {
        let finished = memory.run(command);
        assert_eq!(finished.code, 2, "{command:?}: {finished:?}");
        assert!(finished.stderr.contains("JARVIS_STORE__CACHE"), "{finished:?}");
    }
    let place = Place::new();
    for (wrong, hint) in [
        (&["set", "k"][..], "VALUE"),
        (&["set", "k", "v", "--ttl", "1h", "--persist"], "--persist"),
        (&["set", "k", "v", "--nx", "--xx"], "--xx"),
        (&["set", "k", "v", "--ttl", "soon"], "30s"),
        (&["set", "", "v"], "key"),
        (&["invalidate"], "--tag"),
        (&["invalidate", "--tag", "a", "--pattern", "b"], "--pattern"),
        (&["invalidate", "--pattern", "[a"], "["),
        (&["incr", "k", "--by", "much"], "--by"),
        (&["set", "k", "v", "--tag=1", "--tag=2", "--tag=3", "--tag=4", "--tag=5"], "tags"),
    ] {
        let finished = place.run(wrong);
        assert_eq!(finished.code, 2, "{wrong:?}: {finished:?}");
        assert!(finished.stderr.contains(hint), "{wrong:?}: {finished:?}");
    }
    let gone = format!("redis://:hunter2@127.0.0.1:{}", super::stage::free_port());
    for command in
        [&["get", "k"][..], &["set", "k", "v"], &["delete", "k"], &["incr", "k"], &["stats"]]
    {
        let mut all = vec!["cache"];
        all.extend(command);
        #[expect(clippy::disallowed_methods, reason = "a real process runs in real time")]
        let began = std::time::Instant::now();
        let mut command = memory.command(&all);
        let finished: Finished = command.env("JARVIS_STORE__CACHE", &gone).output().unwrap().into();
        assert_eq!(finished.code, 3, "{all:?}: {finished:?}");
        assert!(began.elapsed() < std::time::Duration::from_secs(3), "{:?}", began.elapsed());
        assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_stored_a_program_sees_and_counts() {
    let place = Place::new();
    let jarvis = Jarvis::open(Source::empty().with_text(place.text.clone())).unwrap();
    let cache = jarvis.cache().await.unwrap();
    place.json(&["set", "k", r#"{"a":1}"#]);
    let seen: Option<Value> = cache.get_json("k").await.unwrap();
    assert_eq!(seen, Some(serde_json::json!({"a": 1})));
    cache.set("back", CacheValue::from("x"), SetOptions::new()).await.unwrap();
    assert_eq!(place.run(&["get", "back"]).stdout, "x");
    cache.get("nothing").await.unwrap();
    let metrics = jarvis.metrics().await.unwrap();
    for line in ["jarvis_cache_hits_total 1", "jarvis_cache_misses_total 1", "jarvis_redis_up{url="]
    {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    jarvis.close().await.unwrap();
}

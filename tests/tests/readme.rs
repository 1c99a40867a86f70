//! What the README says: its commands run, its configurations load.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't set its stage has to stop"
)]

use jarvis_core::config::{Config, Source};
use jarvis_tests::cli::{Finished, Workplace};

const README: &str = include_str!("../../README.md");

/// The fenced blocks of a language.
fn blocks(language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        if line == format!("```{language}") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

#[test]
fn every_configuration_loads() {
    let found = blocks("toml");
    assert!(found.len() >= 2, "the README lost its examples");
    let place = Workplace::empty();
    place.write("slack", "https://hooks.example.org/x");
    let secret = place.path().join("slack").display().to_string();
    for text in found {
        let text = text.replace("/run/secrets/slack", &secret);
        let source = Source::empty()
            .with_text(text.clone())
            .with_variable("HEARTBEAT_URL", "https://beat.example.org/")
            .with_variable("REDIS_URL", "redis://127.0.0.1:6379");
        let (config, report) = Config::inspect(&source);
        assert!(config.is_some(), "{report}\n{text}");
    }
}

#[test]
fn every_command_runs() {
    let place = Workplace::empty();
    let mut ran = 0;
    for block in blocks("console") {
        // What a block exports holds for the commands after it.
        let mut exported: Vec<(String, String)> = Vec::new();
        for line in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
            let words = words(line);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let arguments = match words.as_slice() {
                // The demo has its own test; here it is enough that this line is that command.
                ["cargo", "run", "--release", "--", arguments @ ..] => arguments,
                ["jarvis", arguments @ ..] => arguments,
                ["export", assignment] => {
                    let (name, value) = assignment.split_once('=').unwrap();
                    let value = value.replace("redis://127.0.0.1:6379", &redis_url());
                    exported.push((name.to_owned(), value));
                    continue;
                }
                // This suite itself, and what would install this tree.
                ["tests/run", ..] | ["cargo", "install", "--path", "jarvis-cli"] => continue,
                // The suites `python` and `node` of `tests/run` do these.
                ["pip", "install", "./bindings/python"] | ["npm", "install", "./bindings/node"] => {
                    continue;
                }
                _ => panic!("nobody knows whether this works: {line}"),
            };
            ran += 1;
            run(&place, arguments, &exported);
        }
    }
    assert!(ran >= 11, "the README lost its commands");
    let state = place.state_dir();
    assert!(state.join("status.json").exists(), "it ran in the machine's own state, not {state:?}");
}

/// The words of a command line; what is in single quotes is one.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// The Redis that `tests/run` started, in place of the README's.
fn redis_url() -> String {
    std::env::var("JARVIS_TEST_REDIS_URL").unwrap_or_else(|_| {
        panic!("JARVIS_TEST_REDIS_URL is not set: run tests/run, or tests/servers")
    })
}

fn run(place: &Workplace, arguments: &[&str], exported: &[(String, String)]) {
    let patience = std::time::Duration::from_secs(45);
    if arguments == ["up"] {
        let mut up = place.start(arguments);
        up.line_with("jarvis ", patience);
        // Ready to be told to end: the first events come from the loop.
        up.line_with("watching", patience);
        up.signal(rustix::process::Signal::INT);
        assert_eq!(up.finish(patience).0, 0);
        return;
    }
    let mut command = place.command(arguments);
    command.envs(exported.iter().map(|(name, value)| (name, value)));
    let finished: Finished = command.output().unwrap().into();
    // A check without the services finds them down: that is its answer, not a mistake.
    let good: &[i32] = if arguments == ["check"] { &[0, 1] } else { &[0] };
    assert!(good.contains(&finished.code), "{arguments:?}: {finished:?}");
}

#[test]
fn every_command_of_the_table_exists() {
    let place = Workplace::empty();
    let rows = README.lines().filter(|line| line.starts_with("| `jarvis "));
    let mut seen = 0;
    for row in rows {
        let command = row.split('`').nth(1).unwrap().split_whitespace().nth(1).unwrap();
        assert_eq!(place.run(&[command.trim_end_matches(','), "--help"]).code, 0, "{row}");
        seen += 1;
    }
    assert!(seen >= 8);
}

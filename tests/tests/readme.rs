//! What the README says: its commands run, its configurations load.

use jarvis_core::config::{Config, Source};
use jarvis_tests::cli::Workplace;

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
        for line in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let arguments = match words.as_slice() {
                // The demo has its own test; here it is enough that this line is that command.
                ["cargo", "run", "--release", "--", arguments @ ..] => arguments,
                ["jarvis", arguments @ ..] => arguments,
                // This suite itself, and what would install this tree.
                ["tests/run", ..] | ["cargo", "install", "--path", "jarvis-cli"] => continue,
                _ => panic!("nobody knows whether this works: {line}"),
            };
            ran += 1;
            run(&place, arguments);
        }
    }
    assert!(ran >= 4, "the README lost its commands");
}

fn run(place: &Workplace, arguments: &[&str]) {
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
    let finished = place.run(arguments);
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

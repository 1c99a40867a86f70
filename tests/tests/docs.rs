//! What the documents say is so: the table of faults, the decision on unsafe code, the rules of files.

#![expect(clippy::expect_used, reason = "a test that can't set its stage has to stop")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(path)).expect("a file of the repository")
}

/// Every Rust file below these folders, by its path from the root.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("its entry").path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() {
                // What is built or installed is not ours.
                if name != "target" && name != "node_modules" {
                    waiting.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source");
                let path = path.strip_prefix(root()).expect("below the root").to_owned();
                found.push((path.display().to_string(), text));
            }
        }
    }
    assert!(found.len() > 20, "the sources were not found");
    found
}

const EVERYTHING: &[&str] =
    &["jarvis-core", "jarvis-cli/src", "bindings", "tests", "benches", "examples"];

/// The `fault_NN_…` functions of all tests.
fn fault_tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, text) in sources(&["jarvis-core", "jarvis-cli", "tests"]) {
        for (at, _) in text.match_indices("fn fault_") {
            let rest = &text[at + "fn ".len()..];
            let name = rest.split('(').next().unwrap_or_default();
            if name["fault_".len()..].starts_with(|c: char| c.is_ascii_digit()) {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

#[test]
fn every_fault_has_its_tests_and_the_table_names_them_all() {
    let table = read("jarvis-core/src/docs/faults.md");
    let mut named = BTreeSet::new();
    let mut faults = Vec::new();
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let Some(number) = row.split('|').nth(1).and_then(|cell| cell.trim().parse::<u32>().ok())
        else {
            continue;
        };
        faults.push(number);
        let tests: Vec<&str> = row.split('`').filter(|word| word.starts_with("fault_")).collect();
        let waits = row.contains("waits for");
        assert!(waits == tests.is_empty(), "fault {number} has tests, or says what it waits for");
        for test in tests {
            let prefix = format!("fault_{number:02}_");
            assert!(test.starts_with(&prefix), "{test} stands with fault {number}");
            named.insert(test.to_owned());
        }
    }
    assert_eq!(faults, (1..=40).collect::<Vec<u32>>());
    let tests = fault_tests();
    let lost: Vec<_> = named.difference(&tests).collect();
    assert!(lost.is_empty(), "named in docs/faults.md, and no such test: {lost:?}");
    let unnamed: Vec<_> = tests.difference(&named).collect();
    assert!(unnamed.is_empty(), "not named in docs/faults.md: {unnamed:?}");
}

#[test]
fn unsafe_code_is_lifted_only_where_a_decision_says_so() {
    let decision = read("jarvis-core/src/docs/adr/0010_no_unsafe_code.md");
    let word = concat!("unsafe", "_code");
    for (path, text) in sources(EVERYTHING) {
        let lifts = text
            .lines()
            .any(|line| line.contains(&format!("({word}")) || line.trim() == format!("{word},"));
        assert!(
            !lifts || decision.contains(&format!("`{path}`")),
            "{path} lifts {word}, and docs/adr/0010_no_unsafe_code.md does not name it"
        );
    }
    assert!(read("Cargo.toml").contains(&format!("{word} = \"deny\"")));
}

#[test]
fn nothing_is_left_for_later_and_no_file_is_endless() {
    let (later, skipped) = (concat!("to", "do!("), concat!("#[ign", "ore"));
    for (path, text) in sources(EVERYTHING) {
        assert!(!text.contains(later) && !text.contains(skipped), "{path} leaves something out");
        assert!(text.lines().count() <= 700, "{path} has more than 700 lines; make it two");
    }
}

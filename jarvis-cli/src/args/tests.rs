//! Every command of clap's tree: its help, and what each of its arguments says.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{ArgAction, Command, CommandFactory};

use super::*;

/// Every command with the words that lead to it, hidden ones included.
fn all() -> Vec<(String, Command)> {
    let mut root = Cli::command();
    root.build();
    let mut found = Vec::new();
    let mut waiting = vec![("jarvis".to_owned(), root)];
    while let Some((path, command)) = waiting.pop() {
        let below = command.get_subcommands().filter(|below| below.get_name() != "help");
        waiting.extend(below.map(|below| (format!("{path} {}", below.get_name()), below.clone())));
        found.push((path, command));
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
    assert!(all().len() > 30, "the tree was not walked");
}

#[test]
fn the_help_of_every_command_looks_like_this() {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("snapshots");
    let _bound = settings.bind_to_scope();
    let mut names = BTreeSet::new();
    for (path, command) in all() {
        let name = path.replace(' ', "_");
        let help = command.term_width(100).render_long_help().to_string();
        insta::assert_snapshot!(name.clone(), help);
        names.insert(format!("{name}.snap"));
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/args/snapshots");
    let stored: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".snap"))
        .collect();
    assert_eq!(stored, names, "a snapshot without a command, or a command without a snapshot");
}

#[test]
fn every_command_and_every_argument_says_what_it_is_for() {
    for (path, command) in all() {
        assert!(command.get_about().is_some(), "`{path}` has no help");
        for argument in command.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty(), "`{path}`: {} has no help", argument.get_id());
            assert!(!help.ends_with('.'), "`{path}`: {help:?} is a label, without a full stop");
            if argument.get_action().takes_values() && !argument.is_positional() {
                let shown = argument.get_value_names().unwrap_or_default();
                let named = shown.iter().all(|name| name.chars().all(char::is_uppercase));
                assert!(path.ends_with("stand-in") || named, "`{path}`: {shown:?}");
            }
        }
    }
}

#[test]
fn global_options_have_a_heading_of_their_own() {
    for (path, command) in all() {
        for argument in command.get_arguments() {
            let heading = argument.get_help_heading();
            let own = matches!(argument.get_action(), ArgAction::Help | ArgAction::Version);
            let expected = (argument.is_global_set() && !own).then_some("Global options");
            assert_eq!(heading, expected, "`{path}`: {}", argument.get_id());
        }
    }
}

#[test]
fn removing_is_called_delete_and_the_old_words_still_work() {
    for (path, command) in all() {
        for word in ["del", "remove", "rm", "clear"] {
            assert!(command.is_hide_set() || command.get_name() != word, "`{path}`");
        }
    }
    for words in [
        &["jarvis", "cache", "del", "k"][..],
        &["jarvis", "maintenance", "remove", "1"],
        &["jarvis", "session", "clear", "--user", "ada"],
        &["jarvis", "events", "publish", "a.b", "1"],
        &["jarvis", "events", "incident"],
        &["jarvis", "uptime", "--window", "7d"],
    ] {
        assert!(Cli::try_parse_from(words).is_ok(), "{words:?}");
    }
}

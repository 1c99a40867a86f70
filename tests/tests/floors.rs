//! The floors of the house, read from the sources: which room may import which. Between the crates
//! the compiler holds the order; here it is held between the rooms of one crate.

#![expect(clippy::expect_used, reason = "a source that can't be read fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A crate, by its folder in `jarvis-core`, and its floors from the lowest to the highest. The
/// rooms of a floor do not import each other, except for those of [`FOUNDATION`].
const CRATES: &[(&str, &[&[&str]])] = &[
    ("base/src", &[FOUNDATION, &["net"], &["store", "subprocess", "hosted"], &["events"]]),
    ("state/src", &[&["session", "cache"]]),
    ("supervision/src", &[&["health", "restart", "lease"], &["alert", "operator"]]),
    (
        "src",
        &[
            &["layers", "web"],
            &["config"],
            &["control"],
            &["registry"],
            &["metrics"],
            &["jarvis"],
            &["testkit", "docs"],
        ],
    ),
];

/// The lowest floor: what everything is made of. Its rooms may use each other, without circles.
const FOUNDATION: &[&str] = &[
    "error",
    "vocabulary",
    "clock",
    "secret",
    "money",
    "units",
    "text",
    "names",
    "percent",
    "url_parts",
    "sync",
    "resilience",
];

fn source(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../jarvis-core").join(folder)
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn room_of(file: &Path, source: &Path) -> String {
    let path = file.strip_prefix(source).expect("a file of the crate");
    let first = path.components().next().expect("a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The rooms that a source names by `crate::room`, comments and text left out.
fn named_rooms(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            let outside = line[..at].ends_with("jarvis_") || line[..at].ends_with('$');
            let rest = &line[at + "crate::".len()..];
            let word: String =
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let is_room = word.starts_with(|c: char| c.is_ascii_lowercase());
            if is_room && !outside {
                rooms.insert(word);
            }
        }
    }
    rooms
}

/// The rooms of a crate, and which others each of them imports, with a file that does.
type Imports = BTreeMap<String, BTreeMap<String, PathBuf>>;

fn imports(folder: &str) -> Imports {
    let (source, mut sources) = (source(folder), Vec::new());
    files(&source, &mut sources);
    let mut imports = Imports::new();
    for file in sources {
        let room = room_of(&file, &source);
        if room == "lib" {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a source");
        let named = imports.entry(room.clone()).or_default();
        for other in named_rooms(&text) {
            if other != room {
                named.entry(other).or_insert_with(|| file.clone());
            }
        }
    }
    assert!(!imports.is_empty(), "{folder} has no sources");
    imports
}

fn floor(floors: &[&[&str]], room: &str) -> Option<usize> {
    floors.iter().position(|rooms| rooms.contains(&room))
}

#[test]
fn every_room_has_a_floor() {
    for (folder, floors) in CRATES {
        let without: Vec<String> =
            imports(folder).into_keys().filter(|room| floor(floors, room).is_none()).collect();
        assert!(without.is_empty(), "these rooms of {folder} are on no floor: {without:?}");
    }
}

#[test]
fn a_room_imports_only_from_lower_floors() {
    let mut wrong = Vec::new();
    for (folder, floors) in CRATES {
        for (room, others) in &imports(folder) {
            for (other, file) in others {
                let (own, lower) = (floor(floors, room), floor(floors, other));
                let both_in_the_foundation = own == lower && FOUNDATION.contains(&room.as_str());
                // What is on no floor is an item of the crate's root.
                if lower.is_some() && lower >= own && !both_in_the_foundation {
                    wrong.push(format!("{room} imports {other} in {}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The rooms of the foundation may use each other, but not in a circle.
#[test]
fn imports_never_go_in_circles() {
    fn visit<'a>(
        room: &'a str,
        imports: &'a Imports,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) {
        if let Some(at) = way.iter().position(|on_way| *on_way == room) {
            panic!("rooms import each other: {} -> {room}", way[at..].join(" -> "));
        }
        if !done.contains(room) {
            way.push(room);
            for other in imports.get(room).into_iter().flat_map(BTreeMap::keys) {
                visit(other, imports, way, done);
            }
            way.pop();
            done.insert(room);
        }
    }

    for (folder, _) in CRATES {
        let (imports, mut done) = (imports(folder), BTreeSet::new());
        for room in imports.keys() {
            visit(room, &imports, &mut Vec::new(), &mut done);
        }
    }
}

/// `glob` re-exports would make whatever a floor shares with another part of the public API.
#[test]
fn the_package_re_exports_by_name() {
    let text = fs::read_to_string(source("src/lib.rs")).expect("the root of the package");
    let reexports: Vec<&str> =
        text.lines().filter(|line| line.trim_start().starts_with("pub use ")).collect();
    assert!(reexports.len() > 3, "the re-exports were not found: {reexports:?}");
    assert!(!text.contains("::*"), "{reexports:#?}");
}

#[test]
fn what_is_read_is_recognised() {
    let text = "use crate::health::Probe;\n// use crate::alert;\nfn a() { crate::events::b(); $crate::c!(); jarvis_crate::d() }";
    let rooms: Vec<String> = named_rooms(text).into_iter().collect();
    assert_eq!(rooms, ["events", "health"]);
}

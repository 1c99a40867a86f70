//! The rules of the house, read from the source: who may import whom.

#![expect(clippy::expect_used, reason = "a source that can't be read fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of each floor. Within the second (the event log stands on the store) and the top
/// floor, rooms stand on each other in this order.
const FLOORS: &[&[&str]] = &[
    &["error", "vocabulary", "clock", "secret", "money", "units", "text", "resilience"],
    &["net"],
    &["store", "subprocess", "hosted"],
    &["events"],
    &["health", "restart", "lease", "session", "cache"],
    &["alert", "operator", "layers"],
    &["config"],
    &["registry"],
    &["metrics"],
    &["jarvis"],
    &["testkit", "docs"],
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../jarvis-core/src")
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

fn room_of(file: &Path) -> String {
    let path = file.strip_prefix(source()).expect("a file of the crate");
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

fn imports() -> BTreeMap<String, BTreeMap<String, PathBuf>> {
    let mut sources = Vec::new();
    files(&source(), &mut sources);
    let mut imports: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for file in sources {
        let room = room_of(&file);
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
    imports
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

#[test]
fn every_room_has_a_floor() {
    let homeless: Vec<String> =
        imports().into_keys().filter(|room| floor(room).is_none()).collect();
    assert!(homeless.is_empty(), "these rooms stand on no floor: {homeless:?}");
}

#[test]
fn a_room_imports_only_from_lower_floors() {
    let imports = imports();
    assert!(imports.len() > 15, "the sources were not found: {:?}", imports.keys());
    let mut wrong = Vec::new();
    for (room, others) in &imports {
        for (other, file) in others {
            // The lowest floor holds what everything is made of, and its rooms may use each other.
            let both_at_the_bottom = floor(room) == Some(0) && floor(other) == Some(0);
            // Macros of the crate's root are no rooms.
            if floor(other).is_none() || both_at_the_bottom {
                continue;
            }
            if floor(other) >= floor(room) {
                wrong.push(format!("{room} imports {other} in {}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The lowest floor is exempt from the order, so that this is told apart from it.
#[test]
fn imports_never_go_in_circles() {
    fn visit<'a>(
        room: &'a str,
        imports: &'a BTreeMap<String, BTreeMap<String, PathBuf>>,
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

    let (imports, mut done) = (imports(), BTreeSet::new());
    for room in imports.keys() {
        visit(room, &imports, &mut Vec::new(), &mut done);
    }
}

#[test]
fn what_is_read_is_recognised() {
    let text = "use crate::health::Probe;\n// use crate::alert;\nfn a() { crate::events::b(); $crate::c!(); jarvis_crate::d() }";
    let rooms: Vec<String> = named_rooms(text).into_iter().collect();
    assert_eq!(rooms, ["events", "health"]);
}

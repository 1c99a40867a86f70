//! Many writers, in one process and in four.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use jarvis_core::clock::ClockExt;
use jarvis_core::session::{Save, SaveOutcome, SessionPolicy};
use rustix::process::{Pid, Signal, kill_process};

use crate::stage::{self, Store, add_one, address, id, new, number, prefix, system};

const CHILD: &str = env!("CARGO_BIN_EXE_session-child");

fn child(arguments: &[&str]) -> Child {
    let mut command = Command::new(CHILD);
    command.args(arguments).stdout(Stdio::piped());
    command.spawn().expect("the child's program is built")
}

async fn sixty_four_add_up(store: Store) {
    let counter = store.create(new(r#"{"n":0}"#)).await.expect("create").id;
    let writers: Vec<_> = (0..64)
        .map(|_| {
            let (store, counter) = (store.clone(), counter.clone());
            tokio::spawn(async move {
                for _ in 0..5 {
                    add_one(&store, &counter).await.expect("an update");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("it does not panic");
    }
    let stored = store.load(&counter).await.expect("load").expect("it is there");
    assert_eq!((number(&stored), stored.version), (320, 321));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_writers_of_one_counter_add_up_in_memory() {
    sixty_four_add_up(stage::memory(SessionPolicy::default(), system())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_writers_of_one_counter_add_up_in_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    sixty_four_add_up(stage::sqlite(&folder, SessionPolicy::default(), system())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_writers_of_one_counter_add_up_in_redis() {
    let url = address("JARVIS_TEST_REDIS_URL");
    sixty_four_add_up(stage::redis(&url, &prefix(), SessionPolicy::default(), system())).await;
}

async fn four_processes_add_up(store: Store, url: &str, prefix: &str) {
    let counter = store.create(new(r#"{"n":0}"#)).await.expect("create").id;
    let children: Vec<Child> =
        (0..4).map(|_| child(&["count", url, prefix, counter.expose(), "16", "3"])).collect();
    for mut child in children {
        let mut told = String::new();
        child.stdout.take().expect("piped").read_to_string(&mut told).expect("text");
        assert!(child.wait().expect("our child").success(), "{told}");
        assert_eq!(told, "done\n");
    }
    let stored = store.load(&counter).await.expect("load").expect("it is there");
    assert_eq!((number(&stored), stored.version), (192, 193));
}

#[tokio::test]
async fn four_processes_add_up_in_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = stage::sqlite(&folder, SessionPolicy::default(), system());
    let url = format!("sqlite:{}", folder.path().join("jarvis.db").display());
    four_processes_add_up(store, &url, "").await;
}

#[tokio::test]
async fn four_processes_add_up_in_redis() {
    let (url, prefix) = (address("JARVIS_TEST_REDIS_URL"), prefix());
    let store = stage::redis(&url, &prefix, SessionPolicy::default(), system());
    four_processes_add_up(store, &url, &prefix).await;
}

#[tokio::test]
async fn of_four_killed_writers_sqlite_keeps_what_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("jarvis.db").display());
    let mut children: Vec<Child> =
        ["a", "b", "c", "d"].iter().map(|name| child(&["write", &url, "", name])).collect();
    let mut outputs: Vec<_> = children
        .iter_mut()
        .map(|child| BufReader::new(child.stdout.take().expect("piped")))
        .collect();
    let mut told = String::new();
    for output in &mut outputs {
        for _ in 0..20 {
            assert!(output.read_line(&mut told).expect("text") > 0, "it writes: {told}");
        }
    }
    for child in &children {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::KILL).expect("our child");
    }
    for (child, output) in children.iter_mut().zip(&mut outputs) {
        output.read_to_string(&mut told).expect("text");
        child.wait().expect("our child");
    }
    let mut acknowledged: HashMap<&str, u64> = HashMap::new();
    for line in told.lines() {
        let (name, version) = line.split_once(' ').expect("id and version");
        acknowledged.insert(name, version.parse().expect("a version"));
    }
    assert!(acknowledged.len() >= 40, "{} sessions", acknowledged.len());
    let store = stage::sqlite(&folder, SessionPolicy::default(), system());
    for (name, version) in acknowledged {
        let stored = store.load(&id(name)).await.expect("load");
        let stored = stored.unwrap_or_else(|| panic!("{name} was acknowledged and is gone"));
        assert!(stored.version >= version, "{name}: {} of {version}", stored.version);
    }
}

/// A request that takes long saves while its visitor logs out: whatever comes first, in the end
/// the session is gone.
async fn logout_wins(store: Store) {
    for round in 0..60_u64 {
        let made = store.create(new("{}")).await.expect("create");
        let (saving, leaving) = (store.clone(), store.clone());
        let (save, gone) = (Save::forced(made.clone()), made.id.clone().into());
        let late = tokio::spawn(async move {
            if round % 3 == 0 {
                system().sleep(std::time::Duration::from_micros(round * 20)).await;
            }
            saving.save(save).await.expect("save")
        });
        assert!(leaving.delete(&gone).await.expect("delete"), "it was there");
        let outcome = late.await.expect("it does not panic");
        assert!(matches!(outcome, SaveOutcome::Saved(_) | SaveOutcome::NotFound), "{outcome:?}");
        assert_eq!(store.load(&made.id).await.expect("load"), None, "after {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_wins_over_a_save_at_the_same_time() {
    let folder = tempfile::tempdir().expect("a folder");
    logout_wins(stage::memory(SessionPolicy::default(), system())).await;
    logout_wins(stage::sqlite(&folder, SessionPolicy::default(), system())).await;
    let url = address("JARVIS_TEST_REDIS_URL");
    logout_wins(stage::redis(&url, &prefix(), SessionPolicy::default(), system())).await;
}

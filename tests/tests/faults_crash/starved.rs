//! What the machine has no more of: 31 (a full disk), 32 (descriptors, processes).

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use jarvis_core::clock::{ClockExt, SystemClock};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::scene::{BACKOFF, LEASE, Operating, Scene, of_kind, until};

/// Writes until nothing more fits.
fn fill(file: &Path) {
    let mut file = File::create(file).unwrap();
    let block = [7; 4_096];
    for size in [block.len(), 64, 1] {
        loop {
            match file.write_all(&block[..size]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("the disk is not full, but: {error}"),
            }
        }
    }
}

/// The attempts that were counted there, by a copy: SQLite resolves the path to what is here.
async fn attempts(scene: &Scene, disk: &Path) -> u32 {
    let copy = tempfile::tempdir_in(scene.path("")).unwrap();
    for name in ["operator.db", "operator.db-wal"] {
        std::fs::copy(disk.join(name), copy.path().join(name)).unwrap();
    }
    scene.attempts_in(copy.path()).await
}

/// A real file system without a free block: nothing is begun, since it could not be recorded, and
/// it is told; watching goes on, and with room again everything does.
#[tokio::test]
async fn fault_31_on_a_full_disk_nothing_is_begun_and_it_is_told() {
    let scene = Scene::new();
    let mut child = scene.child_on_a_small_disk(16 << 10);
    until("the first life", || {
        assert_eq!(child.ended(), None, "this test mounts a tmpfs of its own: run it as root");
        (child.count("verify_passed") >= 1).then_some(())
    })
    .await;
    until("its own word", || (!scene.lives().is_empty()).then_some(())).await;
    // Its files as only it sees them.
    let disk = PathBuf::from(format!("/proc/{}/root", child.child.id()))
        .join(scene.path("disk").strip_prefix("/").unwrap());
    assert!(disk.join("operator.db").exists());
    let filler = disk.join("filler");
    fill(&filler);

    scene.kill_service();
    until("the trouble", || {
        let told = of_kind(&child.lines(), "operator_trouble");
        told.iter().any(|told| told["severity"] == "critical").then_some(())
    })
    .await;
    SystemClock::new().sleep(BACKOFF * 10).await;
    assert_eq!(scene.lives().len(), 1, "no act without an intent on disk");
    let begun = of_kind(&child.lines(), "action_started");
    let counted = begun.iter().filter(|act| act["attempt"] != 0).count();
    assert_eq!(counted, 0, "nothing is announced that is not on disk");
    assert_eq!(attempts(&scene, &disk).await, 0, "and none was counted");

    std::fs::remove_file(&filler).unwrap();
    until("the end", || (child.count("incident_resolved") > 0).then_some(())).await;
    assert_eq!((scene.lives().len(), attempts(&scene, &disk).await), (2, 1));
    child.leave().await;
    assert_eq!(of_kind(&child.lines(), "incident_opened").len(), 1);
}

fn pid(child: &Operating) -> Pid {
    Pid::from_raw(child.child.id().cast_signed()).unwrap()
}

/// So many are always in use: the standard streams, and what the runtime waits on.
const IN_USE: u64 = 4;

fn limit_descriptors(child: &Operating, limit: Option<u64>) -> Rlimit {
    let old = rustix::process::getrlimit(Resource::Nofile);
    let new = Rlimit { current: limit.or(old.current), maximum: old.maximum };
    prlimit(Some(pid(child)), Resource::Nofile, new).unwrap()
}

/// With no descriptor left nothing can be looked at: that is no exit, nothing is begun, and it
/// suspects itself. With descriptors again it finds what happened, and heals.
#[tokio::test]
async fn fault_32_without_descriptors_the_loop_holds_suspects_itself_and_recovers() {
    let scene = Scene::new();
    scene.first_life().await;
    let mut child = scene.child(BACKOFF, LEASE, None);
    until("its start", || (child.count("operator_started") > 0).then_some(())).await;
    limit_descriptors(&child, Some(IN_USE));
    scene.kill_service();
    until("the suspicion", || {
        let told = of_kind(&child.lines(), "self_suspected");
        told.iter().any(|told| told["suspected"] == true).then_some(())
    })
    .await;
    SystemClock::new().sleep(BACKOFF * 10).await;
    assert_eq!((scene.lives().len(), scene.attempts().await), (1, 0), "nothing was begun");
    assert_eq!(child.ended(), None, "it goes on");
    limit_descriptors(&child, None);
    until("the end", || (child.count("incident_resolved") > 0).then_some(())).await;
    child.leave().await;
    assert_eq!((scene.lives().len(), scene.attempts().await), (2, 1));
}

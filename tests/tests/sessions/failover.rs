//! A Sentinel failover in the middle of writes.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use jarvis_core::clock::ClockExt;
use jarvis_core::session::{Save, SaveOutcome, SessionId, SessionPolicy};
use jarvis_tests::targets::{pause, until};
use tokio::sync::watch;

use crate::stage::{self, Store, address, id, new, prefix, system};

/// `redis-cli` on one of the Sentinels.
fn sentinel(url: &str, command: &[&str]) -> String {
    let hosts = url.split("://").nth(1).and_then(|rest| rest.split('/').next());
    let first = hosts.and_then(|hosts| hosts.split(',').next()).expect("a host");
    let port = first.rsplit_once(':').expect("a port").1;
    let output =
        Command::new("redis-cli").args(["-p", port]).args(command).output().expect("redis-cli");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn master(url: &str) -> String {
    sentinel(url, &["--raw", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"])
}

/// When a write was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Before the failover, early enough to be replicated.
    Before,
    During,
    /// After the old master had become a replica.
    After,
}

/// What one writer was told: of each session the last version.
type Told = BTreeMap<String, (u64, Phase)>;

async fn write(store: Store, name: String, phase: watch::Receiver<Phase>) -> Told {
    let mut told = Told::new();
    let mut after = 0;
    for n in 0.. {
        let own = format!("{name}-{n}");
        let begun = *phase.borrow();
        let made = store.create(new("{}").with_id(id(&own))).await;
        if let Ok(made) = made {
            told.insert(own.clone(), (made.version, begun));
            if let Ok(SaveOutcome::Saved(saved)) = store.save(Save::new(made)).await {
                told.insert(own, (saved.version, begun));
            }
            after += u32::from(begun == Phase::After);
        }
        if after >= 20 {
            break;
        }
        pause(Duration::from_millis(2)).await;
    }
    told
}

async fn lost(store: &Store, told: &Told) -> Vec<(String, Phase)> {
    let mut lost = Vec::new();
    for (name, (version, begun)) in told {
        let stored = store.load(&SessionId::new(name).expect("an id")).await.expect("load");
        if stored.is_none_or(|stored| stored.version < *version) {
            lost.push((name.clone(), *begun));
        }
    }
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_loses_nothing_that_was_replicated_and_brings_nothing_back() {
    let url = address("JARVIS_TEST_REDIS_SENTINEL_URL");
    let prefix = prefix();
    let open = || stage::redis(&url, &prefix, SessionPolicy::default(), system());
    let store = open();
    let mut settled = Told::new();
    let mut gone = Vec::new();
    for n in 0..40 {
        let made = store.create(new("{}").with_id(id(&format!("before-{n}")))).await;
        let made = made.expect("create");
        if n % 2 == 0 {
            assert!(store.delete(&made.id.clone().into()).await.expect("delete"));
            gone.push(made);
        } else {
            settled.insert(format!("before-{n}"), (made.version, Phase::Before));
        }
    }
    let (phase, _) = watch::channel(Phase::Before);
    let writers: Vec<_> = (0..4)
        .map(|n| tokio::spawn(write(open(), format!("during-{n}"), phase.subscribe())))
        .collect();
    pause(Duration::from_millis(200)).await;
    phase.send_replace(Phase::During);
    // What was begun until here is answered and on the replicas once they have this.
    pause(Duration::from_millis(50)).await;
    let (_, mark, _) = replication(&url).expect("a master");
    until("the replicas have it", async || {
        replication(&url).is_some_and(|(_, _, replicas)| {
            replicas.len() == 2 && replicas.iter().all(|offset| *offset >= mark)
        })
    })
    .await;
    let before = master(&url);
    until("the Sentinels begin", async || {
        sentinel(&url, &["SENTINEL", "FAILOVER", "main"]).contains("OK")
    })
    .await;
    until("there is another master", async || master(&url) != before).await;
    until("the old master and the other one follow it", async || {
        replication(&url).is_some_and(|(role, _, replicas)| role && replicas.len() == 2)
    })
    .await;
    phase.send_replace(Phase::After);

    let clock = system();
    let deadline = clock.monotonic() + Duration::from_secs(20);
    let mut told = Told::new();
    for writer in writers {
        let ended = clock.until(deadline, writer).await;
        told.extend(ended.expect("writing goes on after the failover").expect("no panic"));
    }
    assert_eq!(lost(&store, &settled).await, [], "it was on the replicas before");
    for session in &gone {
        assert_eq!(store.load(&session.id).await.expect("load"), None, "it was deleted before");
        let late = store.save(Save::forced(session.clone())).await.expect("save");
        assert_eq!(late, SaveOutcome::NotFound);
    }
    // What the old master acknowledged and had not replicated is lost: that is Redis's promise,
    // and the docs of `RedisSessions` say so. What came before and after must be there.
    let lost = lost(&store, &told).await;
    let wrong: Vec<_> = lost.iter().filter(|(_, begun)| *begun != Phase::During).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let of = |phase: Phase| told.values().filter(|(_, begun)| *begun == phase).count();
    assert!(of(Phase::Before) > 0 && of(Phase::After) >= 80, "{told:?}");
}

/// Is the master one, what it has, and what each of its replicas has told to have.
fn replication(url: &str) -> Option<(bool, u64, Vec<u64>)> {
    let at = master(url);
    let mut lines = at.lines();
    let (host, port) = (lines.next()?, lines.next()?);
    let output = Command::new("redis-cli")
        .args(["-h", host, "-p", port, "INFO", "replication"])
        .output()
        .expect("redis-cli");
    let info = String::from_utf8_lossy(&output.stdout).into_owned();
    let offset = |line: &str, key: &str| -> Option<u64> {
        let rest = line.split(key).nth(1)?;
        rest.split(',').next()?.trim().parse().ok()
    };
    let own = info.lines().find_map(|line| offset(line, "master_repl_offset:"))?;
    let online = |line: &&str| line.starts_with("slave") && line.contains("state=online");
    let replicas = info.lines().filter(online).filter_map(|line| offset(line, "offset="));
    Some((info.contains("role:master"), own, replicas.collect()))
}

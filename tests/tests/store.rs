//! The SQLite store with real processes: many writers, SIGKILL, full disks, damaged files.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't set its stage has to stop"
)]

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::SystemClock;
use jarvis_core::lease::{
    Attempt, Lease, Limit, Reservation, RestartLedger, SqliteLease, SqliteLedger,
};
use jarvis_core::store::sqlite::{Options, Sqlite};
use jarvis_core::testkit::rows::Rows;
use jarvis_core::vocabulary::{FencingToken, HolderId, IntentId, ServiceId};
use jarvis_core::{ErrorKind, Result};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const CHILD: &str = env!("CARGO_BIN_EXE_store-child");
const BUDGET: Limit = Limit { max: 3, window: Duration::from_secs(86_400) };

fn stage() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("operator.db");
    (folder, file)
}

fn child(arguments: &[&str], file: &Path) -> Command {
    let mut command = Command::new(CHILD);
    command.arg(arguments[0]).arg(file).args(&arguments[1..]).stdout(Stdio::piped());
    command
}

fn lines(command: &mut Command) -> Vec<String> {
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn ledger(file: &Path) -> Result<SqliteLedger> {
    let sqlite = Sqlite::open(file, &Options::new())?;
    Ok(SqliteLedger::new(&sqlite, Arc::new(SystemClock::new())))
}

async fn reserve(ledger: &SqliteLedger, intent: &str, token: u64) -> Result<Reservation> {
    let (service, intent) = (ServiceId::new("api")?, IntentId::new(intent)?);
    ledger.reserve(Attempt::new(service, intent, FencingToken::new(token)).with_limit(BUDGET)).await
}

async fn used(file: &Path) -> Result<u32> {
    let usage = ledger(file)?.usage(&ServiceId::new("api")?, &[BUDGET]).await?;
    Ok(usage[0].used)
}

#[tokio::test]
async fn four_processes_write_one_file() {
    let (_folder, file) = stage();
    let children: Vec<Child> = ["a", "b", "c", "d"]
        .iter()
        .map(|name| child(&["append", name, "50", "8"], &file).spawn().unwrap())
        .collect();
    let mut told = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        told.extend(text.lines().map(str::to_owned));
    }
    assert_eq!(told.len(), 4 * 50 * 8);
    let rows = Rows::new(&Sqlite::open(&file, &Options::new()).unwrap()).all().await.unwrap();
    assert_eq!(rows.len(), told.len(), "each row once");
    assert_eq!(rows.into_iter().collect::<HashSet<_>>(), told.into_iter().collect());
}

#[tokio::test]
async fn what_was_acknowledged_survives_sigkill() {
    let (_folder, file) = stage();
    let random = RandomState::new();
    let mut acknowledged = HashSet::new();
    for round in 0..10 {
        let name = format!("r{round}");
        let mut writer = child(&["append", &name, "1000000", "16"], &file).spawn().unwrap();
        let mut told = BufReader::new(writer.stdout.take().unwrap()).lines();
        let until = 1 + random.hash_one(round) % 300;
        for _ in 0..until {
            acknowledged.insert(told.next().unwrap().unwrap());
        }
        signal(&writer, Signal::KILL);
        acknowledged.extend(told.map(Result::unwrap));
        writer.wait().unwrap();

        let rows = Rows::new(&Sqlite::open(&file, &Options::new()).unwrap());
        let rows: HashSet<String> = rows.all().await.unwrap().into_iter().collect();
        let lost: Vec<_> = acknowledged.difference(&rows).collect();
        assert!(lost.is_empty(), "round {round}: acknowledged and lost: {lost:?}");
    }
    assert!(acknowledged.len() >= 10);
}

/// The log's writes and syncs, and the acknowledgements, in the order they happened.
fn traced(file: &Path, rows: &str, callers: &str) -> Vec<Call> {
    let trace = file.with_file_name("trace");
    let status = Command::new("strace")
        .args(["-f", "-y", "-s", "64", "-e", "trace=write,pwrite64,fsync,fdatasync", "-o"])
        .arg(&trace)
        .args([CHILD, "append"])
        .arg(file)
        .args(["row", rows, callers])
        .stdout(Stdio::null())
        .status()
        .unwrap_or_else(|error| {
            panic!("strace can't be run ({error}): install it, or run `tests/run --install`")
        });
    assert!(status.success(), "{status}");
    fs::read_to_string(&trace).unwrap().lines().filter_map(Call::read).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Wrote,
    Synced,
    Acknowledged,
}

impl Call {
    /// A call counts when it ends, an acknowledgement when it begins.
    fn read(line: &str) -> Option<Self> {
        let ended = line.ends_with("= 0");
        let log = line.contains("-wal>");
        if line.contains("write(1<") && line.contains("\"row-") {
            return Some(Self::Acknowledged);
        }
        if line.contains("pwrite64(") && log {
            return Some(Self::Wrote);
        }
        let resumed = line.contains("sync resumed>");
        let sync = line.contains("sync(") && log;
        ((resumed || sync) && ended).then_some(Self::Synced)
    }
}

#[test]
fn between_a_write_and_its_acknowledgement_is_a_sync() {
    let (_folder, file) = stage();
    let calls = traced(&file, "30", "1");
    let mut acknowledged = 0;
    let mut since = Vec::new();
    for call in calls {
        if call != Call::Acknowledged {
            since.push(call);
            continue;
        }
        let wrote = since.contains(&Call::Wrote);
        let synced = since.last() == Some(&Call::Synced);
        assert!(wrote && synced, "row {acknowledged} was acknowledged after {since:?}");
        acknowledged += 1;
        since.clear();
    }
    assert_eq!(acknowledged, 30);
}

#[test]
fn callers_that_arrive_together_share_a_sync() {
    let (_folder, file) = stage();
    let calls = traced(&file, "30", "16");
    let count = |wanted| calls.iter().filter(|call| **call == wanted).count();
    let (rows, syncs) = (count(Call::Acknowledged), count(Call::Synced));
    assert_eq!(rows, 480);
    assert!(syncs > 0 && syncs * 3 < rows, "{syncs} syncs for {rows} rows");
}

#[tokio::test]
async fn the_file_is_for_its_owner_only() {
    let (_folder, file) = stage();
    let rows = Rows::new(&Sqlite::open(&file, &Options::new()).unwrap());
    rows.append("x").await.unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let mut path = file.clone().into_os_string();
        path.push(suffix);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600, "{path:?}");
    }
}

#[tokio::test]
async fn fault_31_a_full_disk_is_told_and_no_budget_is_given_back() {
    let (_folder, file) = stage();
    let told = lines(&mut child(&["full"], &file));
    assert_eq!(told[..2], ["granted", "granted"]);
    assert!(told[2].starts_with("ERR_JARVIS_EXHAUSTED "), "{told:?}");
    assert!(told[2].contains("disk is full"), "{told:?}");
    assert_eq!(told[3..], ["granted", "refused"], "with space again it goes on where it was");
    assert_eq!(used(&file).await.unwrap(), 3);
}

#[tokio::test]
async fn fault_31_a_read_only_folder_is_told_and_no_budget_is_given_back() {
    let (folder, file) = stage();
    let place = folder.path().join("state");
    let file = place.join(file.file_name().unwrap());
    let ledger = ledger(&file).unwrap();
    reserve(&ledger, "1", 1).await.unwrap();
    // Root may write anywhere, so then the child is nobody, who owns the file, not the folder, and
    // who needs a copy of the program that nobody can reach.
    let executable = folder.path().join("child");
    fs::copy(CHILD, &executable).unwrap();
    let mut command = Command::new(&executable);
    command.arg("open").arg(&file).stdout(Stdio::piped());
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(&file, Some(65_534), Some(65_534)).unwrap();
    }
    fs::set_permissions(&place, fs::Permissions::from_mode(0o555)).unwrap();
    let told = lines(&mut command);
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("ERR_JARVIS_FORBIDDEN "), "{told:?}");
    assert!(told[0].contains("state is not writable by this user"), "{told:?}");
    assert_eq!(used(&file).await.unwrap(), 1);
}

/// Uses two of three attempts, closes the file, damages it, and asks again.
async fn damaged(damage: impl FnOnce(&Path)) {
    let (_folder, file) = stage();
    assert_eq!(lines(&mut child(&["full"], &file)).len(), 5);
    // What is still in the log would mend the file.
    let closing = rusqlite::Connection::open(&file).unwrap();
    closing.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    closing.close().unwrap();
    assert!(!file.with_file_name("operator.db-wal").exists());
    damage(&file);
    let error = match ledger(&file) {
        Err(error) => error,
        Ok(ledger) => reserve(&ledger, "new", 1).await.expect_err("it must not be granted"),
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    let message = error.to_string();
    assert!(message.contains("operator.db") && message.contains("start empty"), "{message}");
}

fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

#[tokio::test]
async fn fault_31_a_damaged_page_is_refused() {
    damaged(|file| {
        for page in 1..fs::metadata(file).unwrap().len() / 4_096 {
            overwrite(file, page * 4_096, &[0xAB; 512]);
        }
    })
    .await;
}

#[tokio::test]
async fn fault_31_an_overwritten_header_is_refused() {
    damaged(|file| overwrite(file, 0, &[b'x'; 100])).await;
}

#[tokio::test]
async fn fault_31_a_cut_off_file_is_refused() {
    damaged(|file| {
        let length = fs::metadata(file).unwrap().len();
        fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length / 2).unwrap();
    })
    .await;
}

#[tokio::test]
async fn fault_31_an_emptied_file_is_refused() {
    damaged(|file| fs::OpenOptions::new().write(true).open(file).unwrap().set_len(0).unwrap())
        .await;
}

#[tokio::test]
async fn fault_31_a_log_without_its_file_is_refused() {
    let (_folder, file) = stage();
    let mut writer = child(&["append", "a", "1000000", "1"], &file).spawn().unwrap();
    BufReader::new(writer.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    signal(&writer, Signal::KILL);
    writer.wait().unwrap();
    fs::remove_file(&file).unwrap();
    let error = Sqlite::open(&file, &Options::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("operator.db-wal"), "{error}");
}

#[tokio::test]
async fn fault_31_a_torn_last_record_loses_nothing_that_was_acknowledged() {
    let (_folder, file) = stage();
    let mut writer = child(&["append", "a", "1000000", "4"], &file).spawn().unwrap();
    let mut told = BufReader::new(writer.stdout.take().unwrap());
    let mut first = String::new();
    told.read_line(&mut first).unwrap();
    signal(&writer, Signal::KILL);
    let mut rest = String::new();
    told.read_to_string(&mut rest).unwrap();
    writer.wait().unwrap();
    let mut log = fs::OpenOptions::new().append(true).open(file.with_file_name("operator.db-wal"));
    log.as_mut().unwrap().write_all(&[0x5A; 3_000]).unwrap();
    let rows = Rows::new(&Sqlite::open(&file, &Options::new()).unwrap()).all().await.unwrap();
    let rows: HashSet<&str> = rows.iter().map(String::as_str).collect();
    let lost: Vec<_> =
        first.lines().chain(rest.lines()).filter(|row| !rows.contains(row)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_name() {
    let (_folder, file) = stage();
    assert_eq!(lines(&mut child(&["full"], &file)).len(), 5);
    let newer = rusqlite::Connection::open(&file).unwrap();
    newer.execute("UPDATE jarvis_schema SET version = 99 WHERE component = 'lease'", []).unwrap();
    newer.close().unwrap();
    let error = reserve(&ledger(&file).unwrap(), "new", 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let message = error.to_string();
    assert!(message.contains("\"lease\"") && message.contains("99"), "{message}");
}

#[tokio::test]
async fn another_programs_file_is_left_alone() {
    let (_folder, file) = stage();
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    other.close().unwrap();
    let error = Sqlite::open(&file, &Options::new()).unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
}

#[tokio::test]
async fn a_stuck_process_ends_in_unavailable() {
    let (_folder, file) = stage();
    let options = Options::new().with_busy_timeout(Duration::from_millis(200));
    let rows = Rows::new(&Sqlite::open(&file, &options).unwrap());
    rows.append("before").await.unwrap();
    let stuck = rusqlite::Connection::open(&file).unwrap();
    stuck.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = rows.append("during").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable(), "nothing was changed: {error:?}");
    assert_eq!(rows.all().await.unwrap(), ["before"], "reading does not wait for writing");
    stuck.execute_batch("ROLLBACK").unwrap();
    rows.append("after").await.unwrap();
    assert_eq!(rows.all().await.unwrap(), ["before", "after"]);
}

#[tokio::test]
async fn fault_35_a_stopped_holder_loses_its_lease_and_its_token_is_refused() {
    let (_folder, file) = stage();
    let mut stopped = child(&["hold"], &file).stdin(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(stopped.stdout.take().unwrap()).lines();
    let old: u64 = told.next().unwrap().unwrap().parse().unwrap();
    signal(&stopped, Signal::STOP);

    let sqlite = Sqlite::open(&file, &Options::new()).unwrap();
    let lease = SqliteLease::new(&sqlite, Arc::new(SystemClock::new()));
    let us = HolderId::new("successor").unwrap();
    let grant = loop {
        // Granted as soon as the other's 300 ms ran out, and not before.
        if let Some(grant) = lease.acquire(&us, Duration::from_secs(60)).await.unwrap() {
            break grant;
        }
    };
    assert!(grant.token.number() > old);

    signal(&stopped, Signal::CONT);
    stopped.stdin.take().unwrap().write_all(b"act\n").unwrap();
    let answer = told.next().unwrap().unwrap();
    assert!(answer.starts_with("ERR_JARVIS_FORBIDDEN "), "{answer}");
    assert_eq!(told.next().unwrap().unwrap(), "renewed false");
    assert!(stopped.wait().unwrap().success());
    let ledger = ledger(&file).unwrap();
    let answer = reserve(&ledger, "ours", grant.token.number()).await.unwrap();
    assert_eq!(answer, Reservation::Granted);
    assert_eq!(used(&file).await.unwrap(), 1, "the late one was not counted");
}

/// A holder that is dead for certain need not be waited for; one that only stands still must.
#[tokio::test]
async fn who_was_killed_loses_its_lease_at_once_and_who_is_stopped_does_not() {
    let (_folder, file) = stage();
    let mut holder = child(&["keep"], &file).spawn().unwrap();
    let mut told = BufReader::new(holder.stdout.take().unwrap()).lines();
    let old: u64 = told.next().unwrap().unwrap().parse().unwrap();
    let sqlite = Sqlite::open(&file, &Options::new()).unwrap();
    let lease = SqliteLease::new(&sqlite, Arc::new(SystemClock::new()));
    let us = HolderId::new("successor").unwrap();
    let hour = Duration::from_secs(3_600);

    assert_eq!(lease.acquire(&us, hour).await.unwrap(), None, "it lives");
    signal(&holder, Signal::STOP);
    assert_eq!(lease.acquire(&us, hour).await.unwrap(), None, "it may go on");
    signal(&holder, Signal::KILL);
    holder.wait().unwrap();
    let grant = lease.acquire(&us, hour).await.unwrap().expect("an hour before it runs out");
    assert!(grant.token.number() > old, "a token grows");
    let ledger = ledger(&file).unwrap();
    let error = reserve(&ledger, "of-the-dead", old).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
}

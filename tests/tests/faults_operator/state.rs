//! The operator's state and its leadership: 31, 35, a command without a loop, a reset in time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jarvis_core::clock::ClockExt;
use jarvis_core::events::Event;
use jarvis_core::lease::{
    Attempt, Lease, Limit, Reservation, RestartLedger, SqliteLease, SqliteLedger, Usage,
};
use jarvis_core::operator::{Action, Command};
use jarvis_core::restart::{ActionRequest, Exit};
use jarvis_core::store::sqlite::{Options, Sqlite};
use jarvis_core::vocabulary::{FencingToken, Gate, HolderId, IntentId, ServiceId};
use jarvis_core::{ErrorKind, Result};
use jarvis_tests::operating::{Stage, id};
use tokio::sync::Semaphore;

use crate::stage::{clock, managed, owned, scripted, stop_process};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_31_without_a_disk_nothing_is_begun_and_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage =
        Stage::new(folder.path(), |settings| settings.lease_ttl = Duration::from_secs(60));
    let (restarter, probe, _) = scripted();
    stage.add(managed("api", &restarter), Arc::new(probe));
    stage.start();
    stage.well().await;
    let intruder = rusqlite::Connection::open(folder.path().join("operator.db")).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    restarter.exit(Exit::Code(1));
    stage
        .until("the trouble", |events| {
            events.events().iter().any(|e| matches!(e, Event::OperatorTrouble { .. }))
        })
        .await;
    assert!(!restarter.is_running(), "no act without an intent on disk");
    intruder.execute_batch("ROLLBACK").unwrap();
    stage.seen("api", "incident_resolved", 1).await;
    assert!(restarter.is_running());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_35_an_old_token_is_refused_by_the_ledger_and_two_operators_act_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(folder.path().join("operator.db"), &Options::new()).unwrap();
    let lease = SqliteLease::new(&sqlite, clock());
    let ledger = SqliteLedger::new(&sqlite, clock());
    let old = lease
        .acquire(&HolderId::new("old").unwrap(), Duration::from_millis(1))
        .await
        .unwrap()
        .unwrap();
    while lease.current().await.unwrap().is_some() {
        clock().sleep(Duration::from_millis(1)).await;
    }

    let (restarter, probe, _) = scripted();
    let mut stages = [Stage::new(folder.path(), |_| {}), Stage::new(folder.path(), |_| {})];
    for stage in &mut stages {
        stage.add(managed("api", &restarter), Arc::new(probe.clone()));
        stage.start();
    }
    let [one, two] = &stages;
    one.wait("a leader", || one.operator.leads() || two.operator.leads()).await;
    let leader = if one.operator.leads() { one } else { two };
    leader.well().await;
    restarter.exit(Exit::Code(1));
    let resolved = |stage: &Stage| stage.events.count("api", "incident_resolved");
    one.wait("the end of it", || resolved(one) + resolved(two) > 0).await;
    assert_eq!(resolved(one) + resolved(two), 1);
    assert_eq!(restarter.lives(), 2, "one of the two acted");

    let attempt = Attempt::new(id("api"), IntentId::new("stale").unwrap(), old.token);
    assert_eq!(ledger.reserve(attempt).await.unwrap_err().kind(), ErrorKind::Forbidden);
    for stage in &mut stages {
        stage.stop().await;
    }
}

/// The service may be acted on, the budget is whole, the intent is new: only the token is old.
#[tokio::test]
async fn fault_35_the_old_token_alone_is_refused_at_the_reservation_and_at_the_act() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(folder.path().join("operator.db"), &Options::new()).unwrap();
    let lease = SqliteLease::new(&sqlite, clock());
    let ledger = SqliteLedger::new(&sqlite, clock());
    let [old, new] = ["old", "new"].map(|name| HolderId::new(name).unwrap());
    let old = lease.acquire(&old, Duration::from_millis(1)).await.unwrap().unwrap().token;
    let new = loop {
        // As soon as the other's millisecond ran out.
        if let Some(grant) = lease.acquire(&new, Duration::from_secs(60)).await.unwrap() {
            break grant.token;
        }
    };

    let limit = Limit { max: 3, window: Duration::from_secs(300) };
    let attempt =
        |token| Attempt::new(id("api"), IntentId::new("one").unwrap(), token).with_limit(limit);
    let refused = ledger.reserve(attempt(old)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Forbidden, "{refused}");
    assert_eq!(ledger.usage(&id("api"), &[limit]).await.unwrap()[0].used, 0);
    assert_eq!(ledger.reserve(attempt(new)).await.unwrap(), Reservation::Granted);

    let request = |intent: &str, token: FencingToken| {
        let deadline = clock().monotonic() + Duration::from_secs(60);
        ActionRequest::new(IntentId::new(intent).unwrap(), token, deadline)
    };
    let ours = owned(folder.path(), "api", "exec sleep 600");
    let life = ours.start(request("begin", new)).await.unwrap().after;
    // Another handle, as the process that lost the lease has one.
    let theirs = owned(folder.path(), "api", "exec sleep 600");
    let late = [
        theirs.restart(request("late", old)).await,
        theirs.start(request("late", old)).await,
        theirs.stop(request("late", old)).await,
    ];
    for answer in late {
        let refused = answer.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Forbidden, "{refused}");
        assert_eq!(ours.observe().await.unwrap().instance, life, "nothing was touched");
    }
    let next = theirs.restart(request("late", new)).await.unwrap();
    assert_eq!((&next.before, next.after != life), (&life, true), "the same with our token");
    stop_process(&theirs).await;
}

/// What `jarvis restart` does without a loop: it carries out what it was told, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_for_commands_only_acts_on_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), |settings| settings.commands_only = true);
    let [(down, down_probe, _), (asked, asked_probe, _)] = [scripted(), scripted()];
    stage.add(managed("down", &down), Arc::new(down_probe));
    stage.add(managed("asked", &asked), Arc::new(asked_probe));
    stage.start();
    stage.well().await;
    down.exit(Exit::Code(1));
    stage.seen("down", "action_held", 1).await;
    let held = stage.events.events().into_iter().find_map(|event| match event {
        Event::ActionHeld { service, hold, .. } => Some((service, hold)),
        _ => None,
    });
    let (service, hold) = held.unwrap();
    assert_eq!((service, hold.gate), (id("down"), Gate::Mode), "{}", hold.reason);
    assert!(hold.reason.contains("only the given command"), "{}", hold.reason);

    let by = "a test".to_owned();
    stage
        .operator
        .command(Command::new(Action::Restart { service: id("asked") }, by))
        .await
        .unwrap();
    stage.seen("asked", "verify_passed", 1).await;
    assert_eq!((asked.lives(), down.lives(), down.is_running()), (2, 1, false));
    // That one may be told to, too.
    let by = "a test".to_owned();
    stage
        .operator
        .command(Command::new(Action::Restart { service: id("down") }, by))
        .await
        .unwrap();
    stage.seen("down", "verify_passed", 1).await;
    stage.stop().await;
}

/// A ledger that takes its time. It says in which order it was asked, and what it was done with.
#[derive(Debug)]
struct Gated {
    inner: Arc<dyn RestartLedger>,
    said: Arc<Mutex<Vec<&'static str>>>,
    gate: Arc<Semaphore>,
}

impl Gated {
    fn say(&self, what: &'static str) {
        self.said.lock().unwrap().push(what);
    }

    async fn pass(&self) {
        self.gate.acquire().await.unwrap().forget();
    }
}

#[async_trait]
impl RestartLedger for Gated {
    async fn reserve(&self, attempt: Attempt) -> Result<Reservation> {
        self.say("reserve");
        self.pass().await;
        let answer = self.inner.reserve(attempt).await;
        self.say("reserved");
        answer
    }
    async fn usage(&self, service: &ServiceId, limits: &[Limit]) -> Result<Vec<Usage>> {
        self.inner.usage(service, limits).await
    }
    async fn reset(&self, service: &ServiceId) -> Result<()> {
        self.say("reset");
        self.pass().await;
        let answer = self.inner.reset(service).await;
        self.say("was reset");
        answer
    }
    async fn rename(&self, from: &ServiceId, to: &ServiceId) -> Result<()> {
        self.inner.rename(from, to).await
    }
}

/// Whichever was decided first is done first, however long the ledger takes over it: an attempt
/// before the reset is forgotten, one after it counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_and_a_reservation_keep_their_order() {
    let reset = || Command::new(Action::Reset { service: id("api") }, "a test");
    for (reset_first, used) in [(false, 0), (true, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let (said, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
        let (heard, opened) = (Arc::clone(&said), Arc::clone(&gate));
        let mut stage = Stage::with_ledger(
            folder.path(),
            |_| {},
            move |inner| Arc::new(Gated { inner, said: heard, gate: opened }),
        );
        let (restarter, probe, _) = scripted();
        stage.add(managed("api", &restarter), Arc::new(probe));
        stage.start();
        stage.well().await;
        let asked = |what: &'static str| {
            let said = Arc::clone(&said);
            move || said.lock().unwrap().contains(&what)
        };
        if reset_first {
            stage.operator.command(reset()).await.unwrap();
            stage.wait("the reset", asked("reset")).await;
            restarter.exit(Exit::Code(1));
            stage.seen("api", "incident_opened", 1).await;
        } else {
            restarter.exit(Exit::Code(1));
            stage.wait("the reservation", asked("reserve")).await;
            stage.operator.command(reset()).await.unwrap();
        }
        // The second has every chance to overtake the first now.
        stage.linger(Duration::from_millis(300)).await;
        assert_eq!(said.lock().unwrap().len(), 1, "{said:?}");
        gate.add_permits(100);
        stage.seen("api", "incident_resolved", 1).await;
        stage.wait("the reset", asked("was reset")).await;
        let order = if reset_first {
            ["reset", "was reset", "reserve", "reserved"]
        } else {
            ["reserve", "reserved", "reset", "was reset"]
        };
        assert_eq!(*said.lock().unwrap(), order);
        let status = stage.operator.status().await;
        assert_eq!(status.services[0].budget[0].used, used, "reset first: {reset_first}");
        assert_eq!(restarter.lives(), 2);
        stage.stop().await;
    }
}

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::*;
use base::clock::{Clock, ClockExt, ManualClock, SystemClock, WallTime};
use base::events::{Delivery, Event, Filter};
use base::vocabulary::{ServiceId, ServiceState, VersionId};
use base::{Error, ErrorKind};
use supervision::health::aggregator::{CheckSpec, ServiceSpec};
use supervision::health::memory::MemoryProbe;
use supervision::operator::{Action, Command, ManagedService, RestartPolicy};
use supervision::restart::{
    ActionRequest, InstanceEvents, Leaving, Receipt, RunState, Running, ServiceRestarter,
};

struct World {
    folder: tempfile::TempDir,
    listener: TcpListener,
}

impl World {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        }
    }

    fn check(&self, service: &str) -> String {
        format!(
            "[service.{service}.check]\ntype = \"tcp\"\naddress = \"{}\"\n",
            self.listener.local_addr().unwrap()
        )
    }

    fn write(&self, text: &str) {
        let text = format!("[jarvis]\nstate_dir = \"state\"\n{text}");
        fs::write(self.folder.path().join("jarvis.toml"), text).unwrap();
    }

    fn open(&self) -> Jarvis {
        let source = Source::empty().with_directory(self.folder.path());
        Jarvis::open(source).unwrap()
    }
}

#[tokio::test]
async fn opening_touches_no_disk_and_one_round_is_real() {
    let world = World::new();
    world.write(&world.check("a"));
    let jarvis = world.open();
    assert!(!world.folder.path().join("state").exists());
    let answer = jarvis.check(&[]).await.unwrap();
    assert_eq!(answer.platform.state, base::vocabulary::ServiceState::Healthy);
    let unknown = jarvis.check(&[ServiceId::new("b").unwrap()]).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

/// Supervises while `body` runs.
async fn supervised(jarvis: &Jarvis, body: impl Future<Output = ()>) {
    let (end, ended) = oneshot::channel::<()>();
    let run = jarvis.run(async {
        drop(ended.await);
        Leaving::Terminated
    });
    let body = async {
        body.await;
        drop(end);
    };
    let (ran, ()) = futures_util::future::join(run, body).await;
    ran.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_loop_answers_on_its_socket_and_leaves_its_events() {
    let world = World::new();
    world.write(&world.check("a"));
    let jarvis = world.open();
    supervised(&jarvis, async {
        let mut bus = jarvis.bus().subscribe(Filter::all()).await.unwrap();
        loop {
            if let Some(Delivery::Event(envelope)) = bus.next().await
                && matches!(envelope.event, Event::ServiceChanged { .. })
            {
                break;
            }
        }
        let attached = jarvis.attach().await;
        assert!(attached.is_live());
        let status = attached.status().await.unwrap();
        assert_eq!(status.source, AnswerSource::Live);
        assert!(status.operator.is_some());
        assert_eq!(status.health.unwrap().services.len(), 1);
        let uptime = attached.uptime(&[], Duration::from_secs(60)).await.unwrap();
        assert_eq!(uptime.report.services.len(), 1);
        let query = EventsQuery { since: Some(WallTime::default()), ..EventsQuery::default() };
        let mut events = attached.events(query).await.unwrap();
        assert!(events.next().await.is_some());
        assert!(
            jarvis
                .metrics()
                .await
                .unwrap()
                .contains("jarvis_service_state{service=\"a\",state=\"healthy\"} 1")
        );
        assert!(jarvis.healthz().alive);
    })
    .await;
    let left = world.open().attach().await;
    assert!(!left.is_live());
    let status = left.status().await.unwrap();
    assert!(matches!(status.source, AnswerSource::LastSeen { .. }), "{:?}", status.source);
    assert_eq!(status.health.unwrap().services[0].service.as_str(), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_handle_watches_the_states_of_the_loop_that_runs() {
    let world = World::new();
    world.write(&world.check("a"));
    let (jarvis, other) = (world.open(), world.open());
    supervised(&jarvis, async {
        let mut here = jarvis.watch(&[]).unwrap();
        while here.next().await.unwrap().unwrap().state != ServiceState::Healthy {}
        let mut there = other.watch(&[]).unwrap();
        let first = there.next().await.unwrap().unwrap();
        assert_eq!((first.service.as_str(), first.state), ("a", ServiceState::Healthy));
        // A running loop watches what is added, and drops what is taken away.
        world.write(&world.check("b"));
        jarvis.reload().await.unwrap();
        let mut told = Vec::new();
        while !told.contains(&("a".to_owned(), false)) || !told.contains(&("b".to_owned(), true)) {
            let change = there.next().await.unwrap().unwrap();
            told.push((change.service.to_string(), change.watched));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_37_a_bad_reload_is_refused_and_a_good_one_is_told() {
    let world = World::new();
    world.write(&world.check("a"));
    let jarvis = world.open();
    let mut bus = jarvis.bus().subscribe(Filter::all()).await.unwrap();
    fs::create_dir(world.folder.path().join("state")).unwrap();
    let file = world.folder.path().join("jarvis.toml");
    for bad in
        ["[service", "[service.a]\n", "[jarvis]\nstate_dir = \"other\"\n", &"#".repeat(10_000_000)]
    {
        fs::write(&file, bad).unwrap();
        assert_eq!(jarvis.reload().await.unwrap_err().kind(), ErrorKind::ConfigInvalid);
        assert_eq!(jarvis.health().snapshot().services.len(), 1);
        let Some(Delivery::Event(told)) = bus.next().await else { panic!("nothing was told") };
        assert!(matches!(told.event, Event::ConfigRefused { .. }), "{told:?}");
    }
    fs::remove_file(&file).unwrap();
    assert!(jarvis.reload().await.unwrap_err().message().contains("is gone"));
    world.write(&format!("{}{}", world.check("a"), world.check("b")));
    let changes = jarvis.reload().await.unwrap();
    assert_eq!(changes, ["b is new"]);
    assert_eq!(jarvis.health().snapshot().services.len(), 2);
}

async fn act(world: &World, id: &str) -> Result<ActionAnswer> {
    let service = ServiceId::new(id).unwrap();
    let command = Command::new(Action::Restart { service }, "a test");
    world.open().attach().await.act(command, false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_action_is_taken_without_a_loop_and_the_kill_switch_holds_it() {
    let world = World::new();
    let mark = world.folder.path().join("mark");
    world.write(&format!(
        "{}[service.a.restart]\nvia = \"command\"\ncommand = [\"touch\", {:?}]\n[service.w]\n{}",
        world.check("a"),
        mark,
        world.check("w"),
    ));
    let state = world.folder.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("STOP"), "").unwrap();
    let held = act(&world, "a").await.unwrap_err();
    assert_eq!(held.kind(), ErrorKind::Forbidden, "{held:?}");
    assert!(!mark.exists());
    fs::remove_file(state.join("STOP")).unwrap();
    act(&world, "a").await.unwrap();
    assert!(mark.exists());
    let watched = act(&world, "w").await.unwrap_err();
    assert_eq!(watched.kind(), ErrorKind::Forbidden, "{watched:?}");
}

/// An action that never ends, and a process that can't be let go of.
#[derive(Debug, Default)]
struct Stuck {
    acts: AtomicBool,
    releases: AtomicBool,
}

#[async_trait]
impl ServiceRestarter for Stuck {
    async fn observe(&self) -> Result<Running> {
        Ok(Running::new(RunState::Running))
    }
    async fn restart(&self, _: ActionRequest) -> Result<Receipt> {
        self.acts.store(true, Ordering::SeqCst);
        std::future::pending().await
    }
    async fn start(&self, request: ActionRequest) -> Result<Receipt> {
        self.restart(request).await
    }
    async fn stop(&self, request: ActionRequest) -> Result<Receipt> {
        self.restart(request).await
    }
    async fn roll_back(&self, request: ActionRequest, _: VersionId) -> Result<Receipt> {
        self.restart(request).await
    }
    async fn settle_roll_back(&self, _: bool) -> Result<()> {
        Ok(())
    }
    async fn watch(&self) -> Result<InstanceEvents> {
        Err(Error::new(ErrorKind::Unsupported, "no events"))
    }
    async fn last_log_lines(&self, _: usize) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    async fn release(&self, _: Leaving) -> Result<()> {
        self.releases.store(true, Ordering::SeqCst);
        std::future::pending().await
    }
}

/// Moves a clock that stands still, and lets what it wakes work, until that is so.
async fn time_passes(clock: &ManualClock, until: impl Fn() -> bool) {
    let real = SystemClock::new();
    for _ in 0..2_000 {
        if until() {
            return;
        }
        clock.advance(Duration::from_millis(100));
        real.sleep(Duration::from_millis(2)).await;
    }
    panic!("it did not come about in 200 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_comes_in_time_whatever_hangs_and_owned_processes_get_their_part_of_it() {
    for (why, released_after) in [(Leaving::Interrupted, 14), (Leaving::Terminated, 26)] {
        let world = World::new();
        world.write("");
        let (clock, stuck) = (ManualClock::new(), Arc::new(Stuck::default()));
        let id = ServiceId::new("stuck").unwrap();
        let probe = MemoryProbe::passing();
        let check = CheckSpec::new("main".parse().unwrap(), Arc::new(probe));
        let mut policy = RestartPolicy::default();
        policy.command_timeout = DEFAULT_WINDOW;
        let managed = ManagedService::new(id.clone()).with_restarter(stuck.clone(), policy);
        let jarvis = Jarvis::builder()
            .with_source(Source::empty().with_directory(world.folder.path()))
            .with_clock(clock.clone())
            .with_service(ServiceSpec::new(id.clone(), vec![check]), managed)
            .open()
            .unwrap();
        let (end, ended) = oneshot::channel();
        let running = jarvis.clone();
        let run = tokio::spawn(async move { running.run(async { ended.await.unwrap() }).await });
        let operator = jarvis.operator().await.unwrap();
        time_passes(&clock, || operator.leads()).await;
        let by = "a test".to_owned();
        let restart = Command::new(Action::Restart { service: id }, by);
        operator.command(restart).await.unwrap();
        time_passes(&clock, || stuck.acts.load(Ordering::SeqCst)).await;

        let told = clock.monotonic();
        let passed = || clock.monotonic().saturating_since(told);
        end.send(why).unwrap();
        time_passes(&clock, || stuck.releases.load(Ordering::SeqCst) || run.is_finished()).await;
        let released = passed();
        time_passes(&clock, || run.is_finished()).await;
        assert!(passed() <= END_WITHIN + Duration::from_secs(1), "{why:?}: {:?}", passed());
        let most = Duration::from_secs(released_after + 1);
        assert!(stuck.releases.load(Ordering::SeqCst) && released <= most, "{why:?}: {released:?}");
        run.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_does_not_answer_is_not_taken_for_gone() {
    let world = World::new();
    world.write("");
    let state = world.folder.path().join("state");
    fs::create_dir(&state).unwrap();
    let clock = ManualClock::new();
    let jarvis = Jarvis::builder()
        .with_source(Source::empty().with_directory(world.folder.path()))
        .with_clock(clock.clone())
        .open()
        .unwrap();
    let gone = jarvis.attach().await;
    assert_eq!(gone.status().await.unwrap().source, AnswerSource::Nothing);

    let socket = crate::control::socket_path(&state);
    let _silent = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let asking = tokio::spawn(async move { jarvis.attach().await });
    time_passes(&clock, || asking.is_finished()).await;
    let attached = asking.await.unwrap();
    assert!(!attached.is_live());
    let told = attached.status().await.unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Timeout, "{told}");
    assert_eq!(attached.source().unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn what_a_program_adds_is_wired_as_what_its_file_says() {
    let mut registry = Registry::with_defaults();
    registry.probe("mine", |_, _| Ok(Arc::new(MemoryProbe::passing())));
    let more = r#"{"service": {"coach": {"critical": true, "check": [{"type": "mine"}]}},
        "alert": {"ops": {"type": "log"}}}"#;
    let text = "[[service.brain.check]]\ntype = \"mine\"\n";
    let jarvis = Jarvis::builder()
        .with_registry(registry.clone())
        .with_source(Source::empty().with_text(text))
        .with_more(Source::empty().with_json(more).unwrap())
        .open()
        .unwrap();
    let checked = jarvis.check(&[]).await.unwrap();
    let names: Vec<&str> = checked.services.iter().map(|it| it.service.as_str()).collect();
    assert_eq!(names, ["brain", "coach"]);
    assert!(checked.services[1].critical);
    let wrong = Source::empty().with_json(r#"{"service": {"x": {"check": [{"type": "odd"}]}}}"#);
    let error = Jarvis::builder().with_registry(registry).with_more(wrong.unwrap()).open();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::ConfigInvalid);
}

use super::*;
use crate::alert::route::Route;
use base::clock::WallTime;
use base::events::Event;
use base::vocabulary::{
    ActionKind, Cause, CheckName, FailureKind, Gate, Hold, IntentId, ServiceState, Trigger,
};
use proptest::prelude::*;

fn id(name: &str) -> ServiceId {
    ServiceId::new(name).unwrap()
}

fn cause() -> Cause {
    Cause {
        check: CheckName::new("http").unwrap(),
        kind: Some(FailureKind::Refused),
        message: "connection refused".into(),
    }
}

fn opened(name: &str) -> Event {
    opened_as(name, 1)
}

fn incident(name: &str, n: u32) -> IncidentId {
    IncidentId::new(format!("{name}-{n}")).unwrap()
}

fn opened_as(name: &str, n: u32) -> Event {
    Event::IncidentOpened {
        incident: incident(name, n),
        service: id(name),
        cause: cause(),
        because_of: None,
    }
}

fn recovered(name: &str) -> Event {
    Event::IncidentRecovered {
        incident: incident(name, 1),
        service: id(name),
        after: Duration::from_secs(20),
        attempts: 1,
    }
}

fn resolved(name: &str) -> Event {
    Event::IncidentResolved {
        incident: incident(name, 1),
        service: id(name),
        after: Duration::from_secs(80),
        attempts: 1,
    }
}

fn escalated(name: &str) -> Event {
    Event::Escalated {
        incident: incident(name, 1),
        service: id(name),
        attempts: 3,
        reason: "3 attempts in 5m".into(),
        last_log_lines: vec!["boom".into()],
    }
}

fn changed(name: &str, from: ServiceState, to: ServiceState) -> Event {
    Event::ServiceChanged { service: id(name), from, to, cause: Some(cause()) }
}

struct Bench {
    policy: Policy,
    t: Duration,
}

type Seen = Vec<(String, AlertStatus, Severity)>;

impl Bench {
    fn new(routes: &[(&str, &str)]) -> Self {
        Self::with_dependencies(routes, &[])
    }

    fn with_dependencies(routes: &[(&str, &str)], depends: &[(&str, &str)]) -> Self {
        let mut policy = Policy::default();
        let route = |text: &str| Matcher::new(toml::from_str::<Route>(text).unwrap()).unwrap();
        let sinks = routes.iter().map(|(name, text)| ((*name).to_owned(), route(text))).collect();
        let mut graph: BTreeMap<ServiceId, Vec<ServiceId>> = BTreeMap::new();
        for (service, on) in depends {
            graph.entry(id(service)).or_default().push(id(on));
        }
        policy.configure(sinks, graph);
        Self { policy, t: Duration::from_secs(1_000) }
    }

    fn now(&self) -> Now {
        let millis = i64::try_from(self.t.as_millis()).unwrap();
        Now { t: self.t, wall: WallTime::from_millis(millis) }
    }

    fn event(&mut self, event: &Event) -> Vec<Message> {
        let messages = self.policy.apply(event, self.now());
        let again = self.policy.apply(event, self.now());
        assert!(again.is_empty(), "announced twice, told twice: {again:?}");
        messages
    }

    /// Lets time pass, stopping wherever something is due.
    fn pass(&mut self, seconds: u64) -> Vec<Message> {
        let end = self.t + Duration::from_secs(seconds);
        let mut messages = Vec::new();
        while let Some(due) = self.policy.next_due().filter(|due| *due <= end) {
            self.t = self.t.max(due);
            messages.extend(self.policy.tick(self.now()));
            let next = self.policy.next_due();
            assert!(next.is_none_or(|next| next > self.t), "due again at once");
        }
        self.t = end;
        messages
    }
}

fn seen(messages: &[Message]) -> Seen {
    messages
        .iter()
        .map(|Message { alert, .. }| {
            let service = alert.service.as_ref().map_or("-", ServiceId::as_str);
            (service.to_owned(), alert.status, alert.severity)
        })
        .collect()
}

fn one(service: &str, status: AlertStatus, severity: Severity) -> Seen {
    vec![(service.to_owned(), status, severity)]
}

use AlertStatus::{Recovered, Reminder, Resolved, Triggered, Updated};
use Severity::{Critical, Info, Warning};

#[test]
fn an_incident_is_told_from_its_beginning_to_its_end() {
    let mut bench = Bench::new(&[("ops", "")]);
    assert!(bench.event(&opened("api")).is_empty(), "it goes with the next tick");
    let begin = bench.pass(0);
    assert_eq!(seen(&begin), one("api", Triggered, Critical));
    assert_eq!(begin[0].alert.key, "api-1", "the key is the incident");
    assert!(begin[0].alert.title.contains("connection refused"));
    assert_eq!(seen(&bench.event(&escalated("api"))), one("api", Updated, Critical));
    assert_eq!(seen(&bench.pass(3_600)), vec![one("api", Reminder, Critical); 2].concat());
    assert_eq!(seen(&bench.event(&recovered("api"))), one("api", Recovered, Critical));
    assert!(bench.pass(7_200).is_empty(), "nothing to remind of");
    let end = bench.event(&resolved("api"));
    assert_eq!(seen(&end)[0].1, Resolved);
    assert_eq!(end[0].alert.lasted, Some(Duration::from_secs(80)));
    assert!(end[0].alert.body.contains("| boom"));
    assert!(end.iter().chain(&begin).all(|message| message.alert.key == "api-1"));
    assert!(bench.event(&opened("api")).is_empty() && bench.pass(60).is_empty(), "it is over");
    assert!(bench.policy.records.is_empty());
}

#[test]
fn an_incident_that_was_replaced_does_not_come_back() {
    let mut bench = Bench::new(&[("ops", "")]);
    bench.event(&opened_as("api", 2));
    bench.pass(10);
    bench.event(&opened("api"));
    assert_eq!(seen(&bench.event(&resolved("api")))[0].1, Resolved);
    bench.event(&opened_as("api", 2));
    assert!(bench.pass(3_600).is_empty());
}

#[test]
fn what_was_done_is_in_the_message() {
    let mut bench = Bench::new(&[("ops", "")]);
    bench.event(&opened("api"));
    bench.event(&Event::ActionStarted {
        intent: IntentId::new("i1").unwrap(),
        service: id("api"),
        action: ActionKind::Restart,
        trigger: Trigger::Down { cause: cause() },
        attempt: 1,
    });
    let begin = bench.pass(10);
    assert!(begin[0].alert.body.contains("Attempt 1: restart"), "{}", begin[0].alert.body);
}

#[test]
fn a_relapse_before_it_is_resolved_is_the_same_alert() {
    let mut bench = Bench::new(&[("ops", "")]);
    bench.event(&opened("api"));
    bench.pass(10);
    bench.event(&recovered("api"));
    let again = bench.event(&changed("api", ServiceState::Healthy, ServiceState::Down));
    assert_eq!(seen(&again), one("api", Updated, Critical));
    assert_eq!(again[0].alert.key, "api-1");
}

#[test]
fn degraded_then_down_is_one_alert_that_gets_worse_and_better() {
    use ServiceState::{Degraded, Down, Healthy};
    let mut bench = Bench::new(&[("ops", "")]);
    bench.event(&changed("api", Healthy, Degraded));
    let begin = bench.pass(10);
    assert_eq!(seen(&begin), one("api", Triggered, Warning));
    assert!(bench.event(&changed("api", Degraded, Down)).is_empty());
    let worse = bench.event(&opened("api"));
    assert_eq!(seen(&worse), one("api", Updated, Critical));
    assert_eq!(worse[0].alert.key, begin[0].alert.key);
    bench.event(&changed("api", Down, Degraded));
    bench.event(&recovered("api"));
    assert_eq!(seen(&bench.event(&resolved("api"))), one("api", Updated, Warning));
    let end = bench.event(&changed("api", Degraded, Healthy));
    assert_eq!(seen(&end)[0].1, Resolved);
}

#[test]
fn the_first_critical_alert_goes_at_once_and_its_followers_are_grouped() {
    let mut bench = Bench::with_dependencies(&[("ops", "")], &[("web", "api")]);
    bench.event(&changed("a", ServiceState::Healthy, ServiceState::Degraded));
    bench.event(&opened("db"));
    assert_eq!(seen(&bench.pass(0)), one("db", Triggered, Critical), "a warning waits");
    for name in ["b", "c", "d", "e"] {
        bench.event(&opened(name));
        assert!(bench.pass(1).is_empty(), "it follows db, and waits for what else comes");
    }
    let grouped = bench.pass(10);
    assert_eq!(seen(&grouped), one("-", Triggered, Critical), "one digest of all the others");
    assert!(grouped[0].alert.title.contains('5'), "{}", grouped[0].alert.title);
    bench.pass(600);
    bench.event(&opened("z"));
    assert_eq!(seen(&bench.pass(0)), one("z", Triggered, Critical), "the next first one");
}

#[test]
fn a_critical_alert_waits_for_the_verdict_of_what_the_service_depends_on() {
    let mut bench = Bench::with_dependencies(&[("ops", "")], &[("web", "api")]);
    bench.event(&opened("web"));
    assert!(bench.pass(9).is_empty());
    assert_eq!(seen(&bench.pass(1)), one("web", Triggered, Critical));
}

#[test]
fn a_degraded_service_that_goes_down_within_the_wait_is_told_at_once() {
    let mut bench = Bench::new(&[("ops", "")]);
    bench.event(&changed("api", ServiceState::Healthy, ServiceState::Degraded));
    assert!(bench.pass(4).is_empty());
    bench.event(&opened("api"));
    assert_eq!(seen(&bench.pass(0)), one("api", Triggered, Critical));
}

#[test]
fn what_comes_and_goes_within_the_wait_is_not_told() {
    let mut bench = Bench::new(&[("ops", "")]);
    bench.event(&changed("api", ServiceState::Healthy, ServiceState::Degraded));
    bench.pass(5);
    bench.event(&changed("api", ServiceState::Degraded, ServiceState::Healthy));
    assert!(bench.pass(3_600).is_empty());
}

#[test]
fn fault_40_a_dependency_with_twenty_dependents_is_one_alert() {
    let names: Vec<String> = (0..20).map(|n| format!("app-{n}")).collect();
    let depends: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "db")).collect();
    let mut bench = Bench::with_dependencies(&[("ops", "")], &depends);
    for name in &names {
        bench.event(&opened(name));
    }
    bench.pass(3);
    bench.event(&opened("db"));
    let begin = bench.pass(1_000);
    assert_eq!(seen(&begin), one("db", Triggered, Critical));
    assert!(begin[0].alert.body.contains("Affected by it"));
    // Resolving is never suppressed, and who comes back is not told at all.
    bench.event(&recovered("db"));
    for name in &names[1..] {
        bench.event(&resolved(name));
    }
    assert!(bench.pass(59).is_empty(), "it has time to follow");
    assert_eq!(seen(&bench.pass(1)), one("app-0", Triggered, Critical), "it did not");
}

#[test]
fn fault_40_in_a_cycle_somebody_is_told() {
    let mut bench = Bench::with_dependencies(&[("ops", "")], &[("a", "b"), ("b", "a"), ("c", "a")]);
    for name in ["a", "b", "c"] {
        bench.event(&opened(name));
    }
    assert_eq!(seen(&bench.pass(10)), one("a", Triggered, Critical));
}

#[test]
fn fault_40_flapping_is_told_once_and_over_once() {
    use ServiceState::{Degraded, Healthy};
    let mut bench = Bench::new(&[("ops", "")]);
    bench.event(&Event::FlappingStarted { service: id("api") });
    let mut messages = bench.pass(10);
    for _ in 0..20 {
        messages.extend(bench.event(&changed("api", Healthy, Degraded)));
        messages.extend(bench.pass(15));
        messages.extend(bench.event(&changed("api", Degraded, Healthy)));
        messages.extend(bench.pass(15));
    }
    messages.extend(bench.event(&Event::FlappingStopped { service: id("api") }));
    let seen = seen(&messages);
    assert_eq!((seen.len(), seen[0].1, seen[1].1), (2, Triggered, Resolved), "{seen:?}");
}

#[test]
fn fault_39_a_mass_failure_is_one_digest() {
    let mut bench = Bench::new(&[("ops", "reminder = \"0s\"")]);
    bench.event(&Event::SelfSuspected { suspected: true, reason: "900 targets fail".into() });
    let names: Vec<String> = (0..1_000).map(|n| format!("target-{n}")).collect();
    let mut messages = Vec::new();
    for chunk in names.chunks(100) {
        for name in chunk {
            messages.extend(bench.policy.apply(&opened(name), bench.now()));
        }
        messages.extend(bench.pass(4));
    }
    messages.extend(bench.pass(7_200));
    let statuses: Vec<AlertStatus> = messages.iter().map(|it| it.alert.status).collect();
    assert_eq!(statuses, [Triggered, Updated], "and once how many it became");
    assert_eq!(messages[0].alert.severity, Critical);
    assert!(messages[0].alert.body.contains("suspects its own network"));
    assert!(messages[1].alert.title.contains("1001"), "{}", messages[1].alert.title);
    assert!(messages.iter().all(|it| it.alert.body.len() < 2_000));
    let mut end = Vec::new();
    for name in &names {
        end.extend(bench.policy.apply(&resolved(name), bench.now()));
    }
    end.extend(bench.event(&Event::SelfSuspected { suspected: false, reason: "over".into() }));
    assert_eq!(end.len(), 1);
    assert_eq!((end[0].alert.status, &end[0].alert.key), (Resolved, &messages[0].alert.key));
    assert!(bench.policy.records.is_empty() && bench.policy.digests.is_empty());
}

#[test]
fn maintenance_holds_beginnings_and_never_ends() {
    let mut bench = Bench::new(&[("ops", "")]);
    let window = |open| Event::MaintenanceChanged {
        open,
        services: vec!["app".into(), "api".into(), "auth".into()],
    };
    bench.event(&opened("api"));
    bench.pass(10);
    bench.event(&window(true));
    bench.event(&opened("app"));
    bench.event(&opened("auth"));
    assert!(bench.pass(7_200).is_empty(), "no beginning, no reminder");
    assert_eq!(seen(&bench.event(&resolved("api")))[0].1, Resolved, "an end is told");
    bench.event(&resolved("auth"));
    assert!(bench.event(&window(false)).is_empty());
    assert_eq!(seen(&bench.pass(0)), one("app", Triggered, Critical), "what changed meanwhile");
}

#[test]
fn routes_choose_by_kind_severity_service_and_delay() {
    let mut bench = Bench::new(&[
        ("all", ""),
        ("page", "on = [\"escalated\"]\nafter = \"5m\""),
        ("models", "services = [\"model-*\"]"),
        ("bad", "min_severity = \"critical\""),
    ]);
    bench.event(&changed("api", ServiceState::Healthy, ServiceState::Degraded));
    let to = |messages: &[Message]| -> Vec<String> {
        messages.iter().map(|message| message.sink.clone()).collect()
    };
    assert_eq!(to(&bench.pass(10)), ["all"]);
    let worse = bench.event(&opened("api"));
    assert_eq!((to(&worse), seen(&worse)[0].1), (vec!["all".to_owned()], Updated));
    assert_eq!(to(&bench.pass(10)), ["bad"]);
    bench.event(&escalated("api"));
    assert!(bench.pass(299).is_empty());
    let page = bench.pass(20);
    assert_eq!((to(&page), seen(&page)[0].1), (vec!["page".to_owned()], Triggered));
    assert_eq!(to(&bench.event(&recovered("api"))), ["all", "bad"]);
    bench.event(&changed("api", ServiceState::Degraded, ServiceState::Healthy));
    let end = bench.event(&resolved("api"));
    assert_eq!(to(&end), ["all", "bad", "page"], "who was told the beginning is told the end");
}

#[test]
fn a_stop_by_a_person_is_told_and_not_paged() {
    let mut bench = Bench::new(&[("ops", ""), ("page", "min_severity = \"warning\"")]);
    let stop = Event::StoppedByPerson { service: id("api"), evidence: "docker stop".into() };
    bench.event(&stop);
    let told = bench.pass(10);
    assert_eq!((seen(&told), told[0].sink.as_str()), (one("api", Triggered, Info), "ops"));
    assert!(bench.event(&stop).is_empty() && bench.pass(3_600).is_empty(), "once");
    bench.event(&changed("api", ServiceState::Down, ServiceState::Healthy));
    bench.event(&stop);
    assert_eq!(bench.pass(10).len(), 1, "it ran in between");
}

#[test]
fn a_hold_that_needs_a_person_is_told() {
    let hold = |gate, reason: &str| Event::ActionHeld {
        service: id("api"),
        action: ActionKind::Restart,
        hold: Hold { gate, reason: reason.into(), until: None },
    };
    let mut bench = Bench::new(&[("ops", "")]);
    bench.event(&opened("api"));
    bench.event(&hold(Gate::FailureKind, "a restart can't mend a wrong password"));
    let begin = bench.pass(10);
    assert_eq!(seen(&begin), one("api", Triggered, Critical));
    assert!(begin[0].alert.body.contains("wrong password"));
    assert!(bench.event(&hold(Gate::Backoff, "10s")).is_empty());
    let held = bench.event(&hold(Gate::KillSwitch, "STOP exists"));
    assert!(held.is_empty(), "held it was before: {held:?}");
}

#[test]
fn a_sink_that_fails_is_told_through_the_others() {
    let mut bench = Bench::new(&[("ops", ""), ("page", "")]);
    assert!(bench.policy.sink_fails("page", "410 gone", bench.now()).is_empty());
    let told = bench.pass(10);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].sink, "ops");
    assert_eq!(bench.policy.sink_works("page", bench.now())[0].alert.status, Resolved);
}

#[test]
fn pauses_and_refused_configurations_begin_and_end() {
    let mut bench = Bench::new(&[("ops", "")]);
    bench.event(&Event::ActingChanged { acting: false, reason: "deploy".into() });
    bench.event(&Event::ConfigRefused { reason: "line 3".into() });
    assert_eq!(bench.pass(10).len(), 2);
    let acting = Event::ActingChanged { acting: true, reason: "resumed".into() };
    assert_eq!(seen(&bench.event(&acting))[0].1, Resolved);
    assert_eq!(bench.event(&Event::ConfigReloaded { changes: vec![] }).len(), 1);
}

fn any_event() -> impl Strategy<Value = Event> {
    let name = prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")];
    (name, 0..12_u8, 1..4_u32).prop_map(|(name, what, n)| {
        use ServiceState::{Degraded, Down, Healthy};
        let (incident, service) = (incident(name, n), id(name));
        let after = Duration::from_secs(u64::from(n));
        match what {
            0 | 1 => opened_as(name, n),
            2 => Event::IncidentRecovered { incident, service, after, attempts: n },
            3 | 4 => Event::IncidentResolved { incident, service, after, attempts: n },
            5 => Event::Escalated {
                incident,
                service,
                attempts: n,
                reason: "budget".into(),
                last_log_lines: vec![],
            },
            6 => changed(name, Healthy, Degraded),
            7 => changed(name, Degraded, Healthy),
            8 => changed(name, Healthy, Down),
            9 => Event::FlappingStarted { service },
            10 => Event::FlappingStopped { service },
            _ => Event::MaintenanceChanged { open: n > 1, services: vec![name.into()] },
        }
    })
}

proptest! {
    /// Whatever happens: for each sink and key one beginning at most, nothing before it, and
    /// nothing after its one end.
    #[test]
    fn every_alert_begins_once_and_ends_at_most_once(
        steps in prop::collection::vec((any_event(), 0..40_u64), 1..80)
    ) {
        let routes = [("all", "digest_from = 3"), ("page", "on = [\"down\"]\nafter = \"30s\"")];
        let depends = [("b", "a"), ("c", "b"), ("d", "c"), ("a", "d")];
        let mut bench = Bench::with_dependencies(&routes, &depends);
        let mut messages = Vec::new();
        for (event, wait) in steps {
            messages.extend(bench.event(&event));
            messages.extend(bench.pass(wait));
        }
        let mut open: BTreeMap<(String, String), bool> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for Message { sink, alert } in messages {
            prop_assert!(ids.insert(alert.id.clone()), "an id came twice");
            prop_assert!(alert.key.len() <= 255);
            let key = (sink, alert.key.clone());
            match alert.status {
                Triggered => prop_assert_eq!(open.insert(key, true), None, "{:?}", alert),
                Resolved => prop_assert_eq!(open.insert(key, false), Some(true), "{:?}", alert),
                _ => prop_assert_eq!(open.get(&key), Some(&true), "{:?}", alert),
            }
        }
    }
}

//! Whatever happens, in whatever order.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::world::{CrashPoint, Script, World, id, plan, secs};
use crate::operator::command::{Action, Command};
use crate::restart::RunState;
use base::clock::Clock;
use base::vocabulary::{FailureKind, ServiceId};

const NAMES: [&str; 3] = ["db", "api", "worker"];

#[derive(Debug, Clone)]
enum Chaos {
    Kill(usize),
    Hang(usize),
    Recover(usize),
    DiesAfter(usize, u64),
    Immortal(usize),
    PersonStops(usize),
    PersonStarts(usize),
    Next(usize, Script),
    Blind(usize, bool),
    Flap(usize, bool),
    Slow(usize, u64),
    KillSwitch(bool),
    LoseLease,
    Lead,
    Maintain(usize, bool),
    Restart(usize),
    Reset(usize),
    CrashNow,
    CrashAt(u32, bool),
    WallJump(i64),
    Suspend(u64),
}

fn chaos() -> impl Strategy<Value = Chaos> {
    let service = 0..NAMES.len();
    let script = prop_oneof![
        Just(Script::Done),
        Just(Script::Refuse),
        Just(Script::StopsOnly),
        Just(Script::Lie),
        Just(Script::LoseAnswer),
        Just(Script::LoseHalf),
    ];
    prop_oneof![
        4 => service.clone().prop_map(Chaos::Kill),
        3 => service.clone().prop_map(Chaos::Hang),
        2 => service.clone().prop_map(Chaos::Recover),
        2 => (service.clone(), 5_u64..200).prop_map(|(n, after)| Chaos::DiesAfter(n, after)),
        1 => service.clone().prop_map(Chaos::Immortal),
        1 => service.clone().prop_map(Chaos::PersonStops),
        1 => service.clone().prop_map(Chaos::PersonStarts),
        4 => (service.clone(), script).prop_map(|(n, script)| Chaos::Next(n, script)),
        1 => (service.clone(), any::<bool>()).prop_map(|(n, on)| Chaos::Blind(n, on)),
        1 => (service.clone(), any::<bool>()).prop_map(|(n, on)| Chaos::Flap(n, on)),
        3 => (service.clone(), 0_u64..40).prop_map(|(n, by)| Chaos::Slow(n, by)),
        2 => any::<bool>().prop_map(Chaos::KillSwitch),
        1 => Just(Chaos::LoseLease),
        2 => Just(Chaos::Lead),
        1 => (service.clone(), any::<bool>()).prop_map(|(n, on)| Chaos::Maintain(n, on)),
        1 => service.clone().prop_map(Chaos::Restart),
        1 => service.prop_map(Chaos::Reset),
        1 => Just(Chaos::CrashNow),
        4 => (0_u32..8, any::<bool>()).prop_map(|(nth, after)| Chaos::CrashAt(nth, after)),
        1 => (-7_200_i64..7_200).prop_map(Chaos::WallJump),
        1 => (1_u64..7_200).prop_map(Chaos::Suspend),
    ]
}

fn apply(world: &mut World, chaos: &Chaos) {
    let name = |n: usize| NAMES[n];
    match *chaos {
        Chaos::Kill(n) => world.sim(name(n)).kill(),
        Chaos::Hang(n) => world.sim(name(n)).hung = Some(FailureKind::ServerError),
        Chaos::Recover(n) => world.sim(name(n)).hung = None,
        Chaos::DiesAfter(n, after) => world.sim(name(n)).dies_after = Some(secs(after)),
        Chaos::Immortal(n) => world.sim(name(n)).dies_after = None,
        Chaos::PersonStops(n) => {
            world.sim(name(n)).run =
                RunState::StoppedByPerson { evidence: "docker stop".to_owned() };
        }
        Chaos::PersonStarts(n) => world.sim(name(n)).start(),
        Chaos::Next(n, script) => world.sim(name(n)).scripts.push_back(script),
        Chaos::Blind(n, on) => world.sim(name(n)).blind = on,
        Chaos::Flap(n, on) => world.sim(name(n)).flapping = on,
        Chaos::Slow(n, by) => world.sim(name(n)).slow = secs(by),
        Chaos::KillSwitch(on) => world.set_kill(on),
        Chaos::LoseLease => world.lose_lease(),
        Chaos::Lead => world.lead(),
        Chaos::Maintain(n, open) => world.maintain(&id(name(n)), open),
        Chaos::Restart(n) => {
            world.command(Command::new(Action::Restart { service: id(name(n)) }, "ann"));
        }
        Chaos::Reset(n) => {
            world.command(Command::new(Action::Reset { service: id(name(n)) }, "ann"));
        }
        Chaos::CrashNow => world.crash(),
        Chaos::CrashAt(nth, after) => {
            let point = if after { CrashPoint::AfterCommit } else { CrashPoint::BeforeCommit };
            world.crash_in = Some((nth, point));
        }
        Chaos::WallJump(seconds) => {
            let wall = world.clock.wall();
            let by = Duration::from_secs(seconds.unsigned_abs());
            world.clock.set_wall(if seconds < 0 { wall - by } else { wall + by });
        }
        Chaos::Suspend(seconds) => {
            world.clock.suspend(secs(seconds));
            world.input(super::input::Input::Woke);
        }
    }
}

/// In no interval as long as the window lie more than `max`.
fn within(intents: &BTreeMap<ServiceId, Vec<Duration>>, max: usize, window: Duration) {
    for (service, times) in intents {
        for start in times {
            let count =
                times.iter().filter(|time| *time >= start && **time - *start < window).count();
            assert!(count <= max, "{count} intents of {service} within {window:?}: {times:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_whatever_happens(
        story in prop::collection::vec((chaos(), 0_u64..120), 1..40)
    ) {
        let mut api = plan("api");
        api.depends_on = vec![id("db")];
        api.restart_with_dependency = true;
        let mut worker = plan("worker");
        worker.depends_on = vec![id("api")];
        let mut world = World::new(vec![plan("db"), api, worker]);
        world.run(5);
        for (chaos, pause) in story {
            apply(&mut world, &chaos);
            world.pass(secs(pause), secs(2));
        }
        within(&world.intents, 3, secs(300));
        within(&world.intents, 10, secs(24 * 3_600));
        let all: Vec<Duration> = world.intents.values().flatten().copied().collect();
        within(&[(id("all"), all)].into(), 10, secs(300));

        // Peace: everything that was ours to heal is well in the end, and told so.
        world.crash_in = None;
        world.lead();
        world.set_kill(false);
        for name in NAMES {
            world.maintain(&id(name), false);
            let sim = world.sim(name);
            sim.scripts.clear();
            sim.dies_after = None;
            sim.blind = false;
            sim.flapping = false;
            sim.slow = Duration::ZERO;
        }
        world.pass(secs(30 * 3_600), secs(60));
        within(&world.intents, 3, secs(300));
        within(&world.intents, 10, secs(24 * 3_600));
        for name in NAMES {
            let stopped = matches!(world.sim(name).run, RunState::StoppedByPerson { .. });
            let held = name != "db" && NAMES.iter().any(|name| {
                matches!(world.sims[&id(name)].run, RunState::StoppedByPerson { .. })
            });
            if !stopped && !held {
                prop_assert_eq!(&world.sims[&id(name)].run, &RunState::Running, "{}: {:?}", name, world.story(name));
                prop_assert_eq!(world.sims[&id(name)].hung, None, "{}: {:?}", name, world.story(name));
                let (opened, resolved) = (world.count(name, "incident_opened"), world.count(name, "incident_resolved"));
                prop_assert_eq!(opened, resolved, "{}: {:?}", name, world.story(name));
            }
        }
    }
}

use proptest::prelude::*;

use super::*;

const fn at(seconds: u64) -> Monotonic {
    Monotonic::from_start(Duration::from_secs(seconds))
}

fn sample(verdict: Verdict, kind: Option<FailureKind>) -> Sample {
    Sample { verdict, kind, latency: Duration::from_millis(1), ours: false }
}

const PASS: Sample =
    Sample { verdict: Verdict::Pass, kind: None, latency: Duration::from_millis(1), ours: false };

fn fail(kind: FailureKind) -> Sample {
    sample(Verdict::Fail, Some(kind))
}

/// Feeds results a second apart and gives the state after each.
fn states(judge: &mut Judge, policy: &CheckPolicy, samples: &[Sample]) -> Vec<ServiceState> {
    let feed = |(second, sample): (usize, &Sample)| {
        judge.observe(policy, *sample, at(second as u64));
        judge.state()
    };
    samples.iter().enumerate().map(feed).collect()
}

#[test]
fn three_failures_make_it_down_and_two_passes_end_it() {
    use ServiceState::{Down, Healthy};
    let (policy, mut judge) = (CheckPolicy::default(), Judge::new(false, None));
    let timeout = fail(FailureKind::Timeout);
    let seen =
        states(&mut judge, &policy, &[PASS, timeout, timeout, timeout, PASS, timeout, PASS, PASS]);
    assert_eq!(seen, [Healthy, Healthy, Healthy, Down, Down, Down, Down, Healthy]);
}

#[test]
fn certain_evidence_needs_one_sighting() {
    let policy = CheckPolicy::default();
    for kind in FailureKind::ALL {
        let mut judge = Judge::new(true, None);
        states(&mut judge, &policy, &[PASS, fail(*kind)]);
        assert_eq!(judge.state() == ServiceState::Down, kind.is_certain(), "{kind}");
    }
}

#[test]
fn it_is_probed_sooner_while_it_fails_and_until_it_is_trusted_again() {
    let (policy, mut judge) = (CheckPolicy::default(), Judge::new(false, None));
    let mut interval = |sample| {
        judge.observe(&policy, sample, at(0));
        judge.interval(&policy).as_secs()
    };
    let timeout = fail(FailureKind::Timeout);
    let seen: Vec<_> =
        [PASS, timeout, PASS, timeout, timeout, timeout, PASS, PASS].map(&mut interval).into();
    assert_eq!(seen, [30, 5, 30, 5, 5, 5, 5, 30]);
}

#[test]
fn in_grace_only_an_exit_counts_and_the_first_pass_ends_it() {
    let policy = CheckPolicy::default();
    let refused = fail(FailureKind::Refused);
    let mut judge = Judge::new(true, Some(at(40)));
    assert_eq!(states(&mut judge, &policy, &[refused; 40]), [ServiceState::Unknown; 40]);
    judge.observe(&policy, refused, at(40));
    assert_eq!(judge.state(), ServiceState::Down);

    let mut judge = Judge::new(true, Some(at(40)));
    states(&mut judge, &policy, &[refused, PASS, refused]);
    assert_eq!(judge.state(), ServiceState::Down, "the pass ended the grace");

    let mut judge = Judge::new(true, Some(at(40)));
    states(&mut judge, &policy, &[refused, fail(FailureKind::Exited)]);
    assert_eq!(judge.state(), ServiceState::Down, "an exit is proof");
}

#[test]
fn unknown_is_a_state_and_neither_heals_nor_kills() {
    use ServiceState::{Down, Healthy, Unknown};
    let (policy, unknown) =
        (CheckPolicy::default(), sample(Verdict::Unknown, Some(FailureKind::Internal)));
    let mut judge = Judge::new(false, None);
    assert_eq!(
        states(&mut judge, &policy, &[PASS, unknown, unknown, unknown, PASS]),
        [Healthy, Healthy, Healthy, Unknown, Healthy]
    );
    let body = fail(FailureKind::Body);
    let mut judge = Judge::new(false, None);
    let seen = states(
        &mut judge,
        &policy,
        &[body, body, unknown, body, unknown, unknown, unknown, PASS, PASS],
    );
    assert_eq!(seen[2..], [Unknown, Down, Down, Down, Unknown, Down, Healthy]);
}

#[test]
fn what_we_saw_late_counts_for_nothing_and_breaks_a_streak() {
    let policy = CheckPolicy::default();
    let body = fail(FailureKind::Body);
    let late = Sample { ours: true, ..fail(FailureKind::Refused) };
    let mut judge = Judge::new(true, None);
    states(&mut judge, &policy, &[PASS, body, body, late, body, body]);
    assert_eq!(judge.state(), ServiceState::Healthy);
    assert_eq!(judge.observe(&policy, late, at(9)), Verdict::Unknown);
}

#[test]
fn after_a_suspend_it_waits_before_it_judges() {
    let (policy, refused) = (CheckPolicy::default(), fail(FailureKind::Refused));
    let mut judge = Judge::new(true, None);
    judge.observe(&policy, PASS, at(0));
    judge.resumed(at(30));
    assert_eq!(judge.observe(&policy, refused, at(5)), Verdict::Unknown);
    assert_eq!(judge.state(), ServiceState::Healthy);
    assert_eq!(judge.observe(&policy, refused, at(30)), Verdict::Fail);
    assert_eq!(judge.state(), ServiceState::Down);
}

#[test]
fn degraded_by_three_slow_answers_or_by_the_percentile() {
    let policy =
        CheckPolicy { degraded_above: Some(Duration::from_millis(200)), ..CheckPolicy::default() };
    let slow = Sample { latency: Duration::from_millis(201), ..PASS };
    let edge = Sample { latency: Duration::from_millis(200), ..PASS };
    let mut judge = Judge::new(false, None);
    states(&mut judge, &policy, &[slow, slow, edge, edge, slow]);
    assert_eq!(judge.state(), ServiceState::Healthy);
    states(&mut judge, &policy, &[slow, slow]);
    assert_eq!(judge.state(), ServiceState::Degraded);

    let mut judge = Judge::new(false, None);
    states(&mut judge, &policy, &[PASS; 18]);
    states(&mut judge, &policy, &[slow]);
    assert_eq!(judge.state(), ServiceState::Healthy, "one of twenty is the 5 % that may be slow");
    states(&mut judge, &policy, &[slow]);
    assert_eq!(judge.state(), ServiceState::Degraded);
}

#[test]
fn a_service_is_its_worst_critical_check() {
    use ServiceState::{Degraded, Down, Healthy, Unknown};
    assert_eq!(worst([]), Unknown);
    assert_eq!(worst([(Healthy, true), (Down, true)]), Down);
    assert_eq!(worst([(Healthy, true), (Down, false)]), Degraded);
    assert_eq!(worst([(Down, false), (Healthy, true)]), Degraded);
    assert_eq!(worst([(Healthy, true), (Unknown, true), (Degraded, true)]), Unknown);
    assert_eq!(worst([(Healthy, true), (Unknown, false)]), Healthy);
    assert_eq!(worst([(Down, false), (Down, false)]), Degraded);
    assert_eq!(worst([(Unknown, false)]), Unknown);
    assert_eq!(worst([(Healthy, false), (Unknown, true)]), Unknown);
}

fn platform(services: &[(ServiceState, bool)]) -> ServiceState {
    let mut tally = Tally::default();
    services.iter().for_each(|(state, critical)| tally.add(*state, *critical));
    tally.platform().state
}

#[test]
fn the_platform_follows_the_original_rule_when_nothing_is_critical() {
    use ServiceState::{Degraded, Down, Healthy, Unknown};
    assert_eq!(platform(&[]), Unknown);
    assert_eq!(platform(&[(Healthy, false), (Healthy, false)]), Healthy);
    assert_eq!(platform(&[(Healthy, false), (Down, false)]), Degraded);
    assert_eq!(platform(&[(Down, false), (Down, false)]), Down);
    assert_eq!(
        platform(&[(Down, true), (Healthy, false), (Unknown, false), (Unknown, false)]),
        Down
    );
    assert_eq!(platform(&[(Healthy, true), (Degraded, true)]), Degraded);
    assert_eq!(platform(&[(Healthy, false), (Unknown, false)]), Healthy);
    assert_eq!(platform(&[(Down, false), (Unknown, false), (Unknown, false)]), Unknown);
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let verdicts =
        prop::sample::select(vec![Verdict::Pass, Verdict::Warn, Verdict::Fail, Verdict::Unknown]);
    let kinds = prop::sample::select(FailureKind::ALL.to_vec());
    (verdicts, kinds, 0_u64..400, prop::bool::weighted(0.1)).prop_map(
        |(verdict, kind, latency, ours)| Sample {
            verdict,
            kind: (verdict != Verdict::Pass).then_some(kind),
            latency: Duration::from_millis(latency),
            ours,
        },
    )
}

fn any_state() -> impl Strategy<Value = ServiceState> {
    prop::sample::select(vec![
        ServiceState::Healthy,
        ServiceState::Degraded,
        ServiceState::Down,
        ServiceState::Unknown,
    ])
}

proptest! {
    /// Down only on proof or after a full streak; never back to well on fewer passes than asked.
    #[test]
    fn the_thresholds_hold(samples in prop::collection::vec(any_sample(), 1..120), failures in 1_u32..5, passes in 1_u32..5) {
        let policy = CheckPolicy {
            failure_threshold: failures,
            success_threshold: passes,
            degraded_above: Some(Duration::from_millis(200)),
            ..CheckPolicy::default()
        };
        let mut judge = Judge::new(false, None);
        let (mut fail_streak, mut pass_streak, mut was_down) = (0, 0, false);
        for (second, sample) in samples.into_iter().enumerate() {
            let before = judge.state();
            let counted = judge.observe(&policy, sample, at(second as u64));
            match counted {
                Verdict::Fail => (fail_streak, pass_streak) = (fail_streak + 1, 0),
                Verdict::Pass | Verdict::Warn => (fail_streak, pass_streak) = (0, pass_streak + 1),
                Verdict::Unknown if sample.ours => (fail_streak, pass_streak) = (0, 0),
                Verdict::Unknown => {}
            }
            prop_assert!(!sample.ours || counted == Verdict::Unknown);
            let proof = counted == Verdict::Fail && sample.kind.is_some_and(FailureKind::is_certain);
            if judge.state() == ServiceState::Down && before != ServiceState::Down && !was_down {
                prop_assert!(proof || fail_streak >= failures);
            }
            was_down = match judge.state() {
                ServiceState::Down => true,
                ServiceState::Unknown => was_down,
                ServiceState::Healthy | ServiceState::Degraded => {
                    prop_assert!(!was_down || pass_streak >= passes);
                    false
                }
            };
            prop_assert!(fail_streak < failures || judge.state() == ServiceState::Down || counted == Verdict::Unknown);
        }
    }

    #[test]
    fn counting_by_changes_equals_counting_anew(changes in prop::collection::vec((0_usize..6, any_state()), 0..40), critical: [bool; 6]) {
        let mut states = [ServiceState::Unknown; 6];
        let mut tally = Tally::default();
        critical.iter().for_each(|critical| tally.add(ServiceState::Unknown, *critical));
        for (service, state) in changes {
            tally.remove(states[service], critical[service]);
            states[service] = state;
            tally.add(state, critical[service]);
            let services: Vec<_> = states.into_iter().zip(critical).collect();
            prop_assert_eq!(tally.platform().state, platform(&services));
        }
    }
}

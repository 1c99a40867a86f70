//! Compare-and-swap, expiry and the users' lists against a model, by random operations.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::{Clock, ManualClock};
use jarvis_core::session::{NewSession, Save, SaveOutcome, Session, SessionId, SessionPolicy};
use jarvis_core::vocabulary::UserId;
use jarvis_core::{Error, ErrorKind};
use proptest::prelude::*;

use crate::stage::{self, Store, address, data, id, prefix};

const CAP: u64 = 100;

#[derive(Debug, Clone)]
enum Act {
    Create { slot: usize, user: Option<usize>, ttl: u64 },
    Save { slot: usize, behind: u64, forced: bool, user: Option<usize>, ttl: u64 },
    Update { slot: usize },
    Delete { slot: usize },
    Extend { slot: usize, ttl: Option<u64>, loads: bool },
    Move { slot: usize, to: Option<usize> },
    Clear { user: usize, except: Option<usize> },
    Pass { seconds: u64 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let slot = || 0..4_usize;
    let user = || proptest::option::of(0..2_usize);
    let ttl = || 1..60_u64;
    let act = prop_oneof![
        3 => (slot(), user(), ttl()).prop_map(|(slot, user, ttl)| Act::Create { slot, user, ttl }),
        4 => (slot(), 0..2_u64, any::<bool>(), user(), ttl()).prop_map(
            |(slot, behind, forced, user, ttl)| Act::Save { slot, behind, forced, user, ttl }
        ),
        2 => slot().prop_map(|slot| Act::Update { slot }),
        1 => slot().prop_map(|slot| Act::Delete { slot }),
        3 => (slot(), proptest::option::of(ttl()), any::<bool>())
            .prop_map(|(slot, ttl, loads)| Act::Extend { slot, ttl, loads }),
        1 => (slot(), user()).prop_map(|(slot, to)| Act::Move { slot, to }),
        1 => (0..2_usize, proptest::option::of(slot())).prop_map(|(user, except)| Act::Clear { user, except }),
        3 => (1..40_u64).prop_map(|seconds| Act::Pass { seconds }),
    ];
    proptest::collection::vec(act, 1..40)
}

/// What should be stored under an id.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    user: Option<usize>,
    version: u64,
    created: u64,
    expires: u64,
    ttl: u64,
    text: String,
}

#[derive(Debug)]
struct Model {
    now: u64,
    /// By slot; the id that the slot has now.
    ids: Vec<SessionId>,
    kept: BTreeMap<usize, Kept>,
}

fn user(number: usize) -> UserId {
    UserId::new(["ada", "bob"][number]).expect("a user")
}

impl Model {
    fn living(&self, slot: usize) -> Option<&Kept> {
        self.kept.get(&slot).filter(|kept| self.now < kept.expires)
    }

    fn expiry(&self, ttl: u64, created: u64) -> u64 {
        (self.now + ttl).min(created + CAP)
    }

    fn put(&mut self, slot: usize, user: Option<usize>, ttl: u64, text: &str) {
        let before = self.living(slot);
        let (version, created) = before.map_or((0, self.now), |it| (it.version, it.created));
        let expires = self.expiry(ttl, created);
        let text = text.to_owned();
        let kept = Kept { user, version: version + 1, created, expires, ttl, text };
        self.kept.insert(slot, kept);
    }
}

/// A store, the model of it, and the clock that both go by.
struct Pair {
    store: Store,
    clock: ManualClock,
    began: i64,
    model: Model,
}

type Checked = Result<(), TestCaseError>;

fn broken(error: &Error) -> TestCaseError {
    TestCaseError::fail(format!("{error:?}"))
}

impl Pair {
    fn new(store: Store, clock: ManualClock) -> Self {
        let ids = (0..4).map(|n| id(&format!("session {n}"))).collect();
        let began = clock.wall().millis();
        Self { store, clock, began, model: Model { now: 0, ids, kept: BTreeMap::new() } }
    }

    fn same(&self, slot: usize, session: &Session) -> Checked {
        let second = |time: jarvis_core::clock::WallTime| {
            u64::try_from((time.millis() - self.began) / 1_000).unwrap_or(u64::MAX)
        };
        let stored = Kept {
            user: session.user.as_ref().map(|it| usize::from(it.as_str() == "bob")),
            version: session.version,
            created: second(session.created_at),
            expires: second(session.expires_at),
            ttl: session.ttl.as_secs(),
            text: session.data.as_str().to_owned(),
        };
        prop_assert_eq!(Some(&stored), self.model.living(slot));
        prop_assert_eq!(&session.id, &self.model.ids[slot]);
        Ok(())
    }

    async fn act(&mut self, act: &Act, step: usize) -> Checked {
        let text = format!("{{\"step\":{step}}}");
        match act {
            Act::Create { slot, user: whose, ttl } => {
                let mut new = NewSession::new()
                    .with_id(self.model.ids[*slot].clone())
                    .with_data(data(&text))
                    .with_ttl(Duration::from_secs(*ttl));
                new.user = whose.map(user);
                match (self.store.create(new).await, self.model.living(*slot)) {
                    (Err(error), Some(_)) => prop_assert_eq!(error.kind(), ErrorKind::Conflict),
                    (Ok(made), None) => {
                        self.model.kept.remove(slot);
                        self.model.put(*slot, *whose, *ttl, &text);
                        self.same(*slot, &made)?;
                    }
                    (outcome, _) => prop_assert!(false, "create: {outcome:?}"),
                }
            }
            Act::Save { slot, behind, forced, user: whose, ttl } => {
                self.save(*slot, (*behind, *forced), (*whose, *ttl), &text).await?;
            }
            Act::Update { slot } => {
                let change = &mut |session: &mut Session| {
                    session.data = data(&text);
                    Ok(())
                };
                let id = self.model.ids[*slot].clone();
                let updated = self.store.update(&id, Duration::from_secs(9), change).await;
                match (updated.map_err(|e| broken(&e))?, self.model.living(*slot).cloned()) {
                    (None, None) => {}
                    (Some(session), Some(kept)) => {
                        self.model.put(*slot, kept.user, kept.ttl, &text);
                        self.same(*slot, &session)?;
                    }
                    (outcome, _) => prop_assert!(false, "update: {outcome:?}"),
                }
            }
            Act::Delete { slot } => {
                let gone = self.model.ids[*slot].clone().into();
                let deleted = self.store.delete(&gone).await.map_err(|e| broken(&e))?;
                prop_assert_eq!(deleted, self.model.living(*slot).is_some());
                self.model.kept.remove(slot);
            }
            Act::Extend { slot, ttl, loads } => {
                let id = self.model.ids[*slot].clone();
                let asked = ttl.map(Duration::from_secs);
                let kept = self.model.living(*slot).cloned();
                if let Some(kept) = kept.clone() {
                    let expires = self.model.expiry(ttl.unwrap_or(kept.ttl), kept.created);
                    self.model.kept.insert(*slot, Kept { expires, ..kept });
                }
                if *loads {
                    let found = self.store.load_and_extend(&id, asked).await;
                    let found = found.map_err(|e| broken(&e))?;
                    prop_assert_eq!(found.is_some(), kept.is_some());
                    if let Some(session) = found {
                        self.same(*slot, &session)?;
                    }
                } else {
                    let until = self.store.extend(&id.into(), asked).await;
                    prop_assert_eq!(until.map_err(|e| broken(&e))?.is_some(), kept.is_some());
                }
            }
            Act::Move { slot, to } => {
                let old = self.model.ids[*slot].clone();
                let moved = self.store.regenerate(&old, to.map(user)).await;
                match (moved.map_err(|e| broken(&e))?, self.model.living(*slot).cloned()) {
                    (None, None) => {}
                    (Some(session), Some(kept)) => {
                        self.model.put(*slot, to.or(kept.user), kept.ttl, &kept.text);
                        self.model.ids[*slot] = session.id.clone();
                        self.same(*slot, &session)?;
                        let left = self.store.load(&old).await.map_err(|e| broken(&e))?;
                        prop_assert_eq!(left, None);
                    }
                    (outcome, _) => prop_assert!(false, "regenerate: {outcome:?}"),
                }
            }
            Act::Clear { user: whose, except } => {
                let except = except.map(|slot| self.model.ids[slot].clone().into());
                let cleared = self.store.clear(&user(*whose), except.as_ref()).await;
                let going: Vec<usize> = (0..4)
                    .filter(|slot| {
                        self.model.living(*slot).is_some_and(|it| it.user == Some(*whose))
                    })
                    .filter(|slot| Some(self.model.ids[*slot].clone().into()) != except)
                    .collect();
                prop_assert_eq!(cleared.map_err(|e| broken(&e))?, going.len() as u64);
                for slot in going {
                    self.model.kept.remove(&slot);
                }
            }
            Act::Pass { seconds } => {
                self.clock.advance(Duration::from_secs(*seconds));
                self.model.now += seconds;
            }
        }
        self.check().await
    }

    async fn save(
        &mut self,
        slot: usize,
        (behind, forced): (u64, bool),
        (whose, ttl): (Option<usize>, u64),
        text: &str,
    ) -> Checked {
        let before = self.model.living(slot).cloned();
        let version = before.as_ref().map_or(3, |kept| kept.version).saturating_sub(behind);
        let mut session = self.blank().await.map_err(|e| broken(&e))?;
        session.id = self.model.ids[slot].clone();
        session.user = whose.map(user);
        session.data = data(text);
        session.ttl = Duration::from_secs(ttl);
        session.version = version;
        let save = if forced { Save::forced(session) } else { Save::new(session) };
        let outcome = self.store.save(save).await.map_err(|e| broken(&e))?;
        let creates = version == 0 && !forced;
        match (outcome, before) {
            (SaveOutcome::NotFound, None) => prop_assert!(!creates),
            (SaveOutcome::Saved(saved), None) => {
                prop_assert!(creates);
                self.model.kept.remove(&slot);
                self.model.put(slot, whose, ttl, text);
                self.same(slot, &saved)?;
            }
            (SaveOutcome::Conflict(current), Some(_)) => {
                prop_assert!(behind > 0 && !forced);
                self.same(slot, &current)?;
            }
            (SaveOutcome::Saved(saved), Some(_)) => {
                prop_assert!(behind == 0 || forced);
                self.model.put(slot, whose, ttl, text);
                self.same(slot, &saved)?;
            }
            (outcome, before) => prop_assert!(false, "save: {outcome:?} over {before:?}"),
        }
        Ok(())
    }

    /// A session to fill in: they can't be written down field by field.
    async fn blank(&self) -> jarvis_core::Result<Session> {
        let made = self.store.create(NewSession::new()).await?;
        self.store.delete(&made.id.clone().into()).await?;
        Ok(made)
    }

    /// Everything that can be asked agrees with the model.
    async fn check(&self) -> Checked {
        let mut all = 0;
        for slot in 0..4 {
            let stored = self.store.load(&self.model.ids[slot]).await.map_err(|e| broken(&e))?;
            prop_assert_eq!(stored.is_some(), self.model.living(slot).is_some(), "slot {}", slot);
            if let Some(session) = stored {
                self.same(slot, &session)?;
                all += 1;
            }
        }
        for whose in 0..2 {
            let listed = self.store.list(&user(whose)).await.map_err(|e| broken(&e))?;
            let mut listed: Vec<u64> = listed.iter().map(|it| it.version).collect();
            let mut wanted: Vec<u64> = (0..4)
                .filter_map(|slot| self.model.living(slot))
                .filter(|kept| kept.user == Some(whose))
                .map(|kept| kept.version)
                .collect();
            listed.sort_unstable();
            wanted.sort_unstable();
            prop_assert_eq!(listed, wanted, "the list of {}", whose);
        }
        prop_assert_eq!(self.store.count(None).await.map_err(|e| broken(&e))?, all);
        Ok(())
    }
}

fn policy() -> SessionPolicy {
    SessionPolicy::default().with_absolute_ttl(Duration::from_secs(CAP))
}

fn agree(cases: u32, open: impl Fn(ManualClock) -> Store) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = proptest::test_runner::TestRunner::new(config).run(&acts(), |acts| {
        runtime.block_on(async {
            let clock = ManualClock::new();
            let mut pair = Pair::new(open(clock.clone()), clock);
            for (step, act) in acts.iter().enumerate() {
                pair.act(act, step).await?;
            }
            Ok(())
        })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn memory_agrees_with_the_model() {
    agree(300, |clock| stage::memory(policy(), Arc::new(clock)));
}

#[test]
fn sqlite_agrees_with_the_model() {
    let folder = tempfile::tempdir().expect("a folder");
    agree(20, |clock| {
        let own = tempfile::tempdir_in(&folder).expect("a folder");
        let store = stage::sqlite(&own, policy(), Arc::new(clock));
        // The file stays open; its folder goes with the outer one.
        let _ = own.keep();
        store
    });
}

#[test]
fn redis_agrees_with_the_model() {
    let url = address("JARVIS_TEST_REDIS_URL");
    agree(12, |clock| stage::redis(&url, &prefix(), policy(), Arc::new(clock)));
}

#[test]
fn a_cluster_agrees_with_the_model() {
    let url = address("JARVIS_TEST_REDIS_CLUSTER_URL");
    agree(6, |clock| stage::redis(&url, &prefix(), policy(), Arc::new(clock)));
}

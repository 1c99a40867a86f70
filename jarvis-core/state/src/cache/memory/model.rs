//! Any sequence of calls against a map that does the same in the simplest way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use proptest::prelude::*;

use super::MemoryCache;
use crate::cache::{Cache, CachePolicy, Condition, Lifetime, SetOptions};
use base::Result;
use base::clock::ManualClock;

#[derive(Debug, Clone)]
enum Call {
    Set { key: u8, value: i64, seconds: Option<u64>, tag: Option<u8>, condition: Condition },
    Delete(u8),
    Increment { key: u8, by: i64, seconds: u64 },
    Expire(u8, Option<u64>),
    InvalidateTag(u8),
    InvalidatePattern(u8),
    Flush,
    Pass(u64),
}

fn calls() -> impl Strategy<Value = Call> {
    let (key, tag, seconds) = (0..4_u8, 0..2_u8, 1..6_u64);
    let condition =
        prop::sample::select(vec![Condition::Always, Condition::IfAbsent, Condition::IfPresent]);
    let lifetime = prop::option::of(seconds.clone());
    let set =
        (key.clone(), any::<i64>(), lifetime.clone(), prop::option::of(tag.clone()), condition);
    prop_oneof![
        4 => set.prop_map(|(key, value, seconds, tag, condition)| {
            Call::Set { key, value, seconds, tag, condition }
        }),
        1 => key.clone().prop_map(Call::Delete),
        2 => (key.clone(), any::<i64>(), seconds.clone())
            .prop_map(|(key, by, seconds)| Call::Increment { key, by, seconds }),
        1 => (key.clone(), lifetime).prop_map(|(key, seconds)| Call::Expire(key, seconds)),
        1 => tag.prop_map(Call::InvalidateTag),
        1 => key.prop_map(Call::InvalidatePattern),
        1 => Just(Call::Flush),
        3 => seconds.prop_map(Call::Pass),
    ]
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    /// Value, end, tag.
    entries: HashMap<u8, (i64, Option<u64>, Option<u8>)>,
}

impl Model {
    /// What the call answers, as text.
    fn apply(&mut self, call: &Call) -> String {
        let now = self.now;
        self.entries.retain(|_, (_, end, _)| end.is_none_or(|end| now < end));
        let end = |seconds: Option<u64>| seconds.map(|seconds| now + seconds);
        match *call {
            Call::Set { key, value, seconds, tag, condition } => {
                let there = self.entries.contains_key(&key);
                let holds = match condition {
                    Condition::Always => true,
                    Condition::IfAbsent => !there,
                    Condition::IfPresent => there,
                };
                if holds {
                    self.entries.insert(key, (value, end(seconds), tag));
                }
                holds.to_string()
            }
            Call::Delete(key) => u64::from(self.entries.remove(&key).is_some()).to_string(),
            Call::Increment { key, by, seconds } => {
                let entry = self.entries.entry(key).or_insert((0, end(Some(seconds)), None));
                match entry.0.checked_add(by) {
                    Some(sum) => {
                        entry.0 = sum;
                        sum.to_string()
                    }
                    None => "refused".to_owned(),
                }
            }
            Call::Expire(key, seconds) => {
                let entry = self.entries.get_mut(&key);
                entry.map(|entry| entry.1 = end(seconds)).is_some().to_string()
            }
            Call::InvalidateTag(tag) => {
                self.entries.retain(|_, (_, _, its)| *its != Some(tag));
                String::new()
            }
            Call::InvalidatePattern(below) => {
                let before = self.entries.len();
                self.entries.retain(|key, _| *key >= below);
                (before - self.entries.len()).to_string()
            }
            Call::Flush => {
                self.entries.clear();
                String::new()
            }
            Call::Pass(seconds) => {
                self.now += seconds;
                String::new()
            }
        }
    }

    fn value(&self, key: u8) -> Option<String> {
        let (value, end, _) = self.entries.get(&key)?;
        end.is_none_or(|end| self.now < end).then(|| value.to_string())
    }
}

fn now<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    future.now_or_never().expect("complete on the first poll")
}

fn text<T: ToString>(answer: Result<T>) -> String {
    answer.map_or_else(|_| "refused".to_owned(), |answer| answer.to_string())
}

fn lifetime(seconds: Option<u64>) -> Lifetime {
    seconds.map_or(Lifetime::Unlimited, |seconds| Lifetime::For(Duration::from_secs(seconds)))
}

fn apply(cache: &MemoryCache, clock: &ManualClock, call: &Call) -> String {
    let name = |key: u8| format!("k{key}");
    match *call {
        Call::Set { key, value, seconds, tag, condition } => {
            let options =
                SetOptions::new().with_lifetime(lifetime(seconds)).with_condition(condition);
            let options = match tag {
                Some(tag) => options.with_tag(format!("t{tag}")),
                None => options,
            };
            text(now(cache.set(&name(key), value.to_string().into(), options)))
        }
        Call::Delete(key) => text(now(cache.delete(&[name(key)]))),
        Call::Increment { key, by, seconds } => {
            text(now(cache.increment(&name(key), by, Some(lifetime(Some(seconds))))))
        }
        Call::Expire(key, seconds) => text(now(cache.expire(&name(key), lifetime(seconds)))),
        Call::InvalidateTag(tag) => {
            now(cache.invalidate_tag(&format!("t{tag}"))).expect("done");
            String::new()
        }
        Call::InvalidatePattern(0) => "0".to_owned(),
        Call::InvalidatePattern(below) => {
            text(now(cache.invalidate_pattern(&format!("k[0-{}]", below - 1))))
        }
        Call::Flush => {
            now(cache.flush()).expect("done");
            String::new()
        }
        Call::Pass(seconds) => {
            clock.advance(Duration::from_secs(seconds));
            String::new()
        }
    }
}

proptest! {
    #[test]
    fn it_answers_as_a_simple_map_does(calls in prop::collection::vec(calls(), 1..60)) {
        let clock = ManualClock::new();
        let cache = MemoryCache::new(CachePolicy::default(), Arc::new(clock.clone())).unwrap();
        let mut model = Model::default();
        for call in calls {
            prop_assert_eq!(apply(&cache, &clock, &call), model.apply(&call), "{:?}", call);
            for key in 0..4 {
                let value = now(cache.get(&format!("k{key}"))).unwrap();
                let value = value.map(|value| value.as_str().unwrap().to_owned());
                prop_assert_eq!(value, model.value(key), "k{} after {:?}", key, call);
            }
        }
    }
}

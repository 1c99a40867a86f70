//! Cases of single entries, numbers, tags and patterns.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::{BRIEF, CacheEnv, PAST, got, kind, names, policy, put};
use base::{ErrorKind, Result};
use state::cache::{
    Cache, CachePolicy, CacheValue, Condition, DEFAULT_TTL, Entry, Lifetime, MAX_TAGS, SetOptions,
};

fn when(condition: Condition) -> SetOptions {
    SetOptions::new().with_condition(condition)
}

fn tagged(tags: &[&str]) -> SetOptions {
    tags.iter().fold(SetOptions::new(), |options, tag| options.with_tag(*tag))
}

pub(super) async fn what_was_set_is_got_byte_for_byte(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let everything: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let values = [
        CacheValue::from(everything),
        CacheValue::default(),
        CacheValue::from("\r\n\0"),
        CacheValue::from("12"),
        CacheValue::from("-0"),
        CacheValue::from("+5"),
        CacheValue::from("99999999999999999999999"),
    ];
    for (number, value) in values.into_iter().enumerate() {
        let key = format!("k {number} {{}}:*\n\u{e9}");
        assert!(cache.set(&key, value.clone(), SetOptions::new()).await?);
        assert_eq!(cache.get(&key).await?, Some(value.clone()), "{key}");
        assert!(cache.set(&key, value.clone(), tagged(&["t"])).await?);
        assert_eq!(cache.get(&key).await?, Some(value), "{key} with a tag");
    }
    Ok(())
}

pub(super) async fn what_is_got_now_is_what_is_got(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    cache.set("k", "v".into(), tagged(&["t"]).with_ttl(BRIEF)).await?;
    put(&cache, "other", "v").await?;
    // Whoever would have to wait says nothing, and counts nothing.
    let now = async |key: &str| match cache.get_now(key) {
        Some(got) => got,
        None => cache.get(key).await,
    };
    let value = Some(CacheValue::from("v"));
    assert_eq!(now("k").await?, value);
    assert_eq!(now("k").await?, value);
    assert_eq!(now("unknown").await?, None);
    assert_eq!(kind(now("").await), ErrorKind::InvalidInput);
    put(&cache, "other", "w").await?;
    assert_eq!(now("other").await?, Some(CacheValue::from("w")));
    cache.delete(&names(&["other"])).await?;
    assert_eq!(now("other").await?, None);
    env.pass(PAST).await;
    assert_eq!(now("k").await?, None, "it ran out");
    let stats = cache.stats().await?;
    assert_eq!((stats.hits, stats.misses), (3, 3));
    Ok(())
}

pub(super) async fn nothing_is_got_of_a_key_that_is_not_there(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    assert_eq!(cache.get("k").await?, None);
    assert!(!cache.exists("k").await?);
    assert_eq!(cache.lifetime("k").await?, None);
    assert!(!cache.expire("k", Lifetime::Unlimited).await?);
    assert_eq!(cache.delete(&names(&["k"])).await?, 0);
    Ok(())
}

pub(super) async fn what_ran_out_is_gone(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    cache.set("k", "v".into(), SetOptions::new().with_ttl(BRIEF)).await?;
    put(&cache, "other", "v").await?;
    assert_eq!(got(&cache, "k").await?.as_deref(), Some("v"));
    env.pass(PAST).await;
    assert_eq!(got(&cache, "k").await?, None);
    assert_eq!(cache.get_many(&names(&["k"])).await?, [None]);
    assert!(!cache.exists("k").await?);
    assert_eq!(cache.lifetime("k").await?, None);
    assert!(!cache.expire("k", Lifetime::For(BRIEF)).await?);
    assert_eq!(cache.delete(&names(&["k"])).await?, 0);
    assert_eq!(got(&cache, "other").await?.as_deref(), Some("v"));
    Ok(())
}

pub(super) async fn setting_replaces_value_lifetime_and_tags(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let brief = tagged(&["t"]).with_ttl(BRIEF);
    cache.set("k", "old".into(), brief).await?;
    put(&cache, "k", "new").await?;
    cache.invalidate_tag("t").await?;
    env.pass(PAST).await;
    assert_eq!(got(&cache, "k").await?.as_deref(), Some("new"));
    Ok(())
}

pub(super) async fn if_absent_stores_only_where_there_is_none(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let absent = when(Condition::IfAbsent);
    assert!(cache.set("k", "a".into(), absent.clone()).await?);
    assert!(!cache.set("k", "b".into(), absent.with_tag("t")).await?);
    cache.invalidate_tag("t").await?;
    assert_eq!(got(&cache, "k").await?.as_deref(), Some("a"));
    Ok(())
}

pub(super) async fn if_absent_stores_over_what_ran_out_or_was_invalidated(
    env: &dyn CacheEnv,
) -> Result<()> {
    let cache = env.open(policy()).await?;
    cache.set("ran out", "a".into(), SetOptions::new().with_ttl(BRIEF)).await?;
    cache.set("invalidated", "a".into(), tagged(&["t"])).await?;
    env.pass(PAST).await;
    cache.invalidate_tag("t").await?;
    for key in ["ran out", "invalidated"] {
        assert!(!cache.set(key, "x".into(), when(Condition::IfPresent)).await?, "{key}");
        assert!(cache.set(key, "b".into(), when(Condition::IfAbsent)).await?, "{key}");
        assert_eq!(got(&cache, key).await?.as_deref(), Some("b"));
    }
    Ok(())
}

pub(super) async fn if_present_stores_only_where_there_is_one(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let present = when(Condition::IfPresent);
    assert!(!cache.set("k", "a".into(), present.clone()).await?);
    assert_eq!(got(&cache, "k").await?, None);
    for options in [SetOptions::new(), tagged(&["t"])] {
        cache.set("k", "a".into(), options).await?;
        assert!(cache.set("k", "b".into(), present.clone().with_tag("u")).await?);
        assert_eq!(got(&cache, "k").await?.as_deref(), Some("b"));
    }
    cache.invalidate_tag("u").await?;
    assert_eq!(got(&cache, "k").await?, None);
    Ok(())
}

pub(super) async fn of_many_at_once_one_is_the_first(env: &dyn CacheEnv) -> Result<()> {
    let caches = try_join_all((0..16).map(|_| env.open(policy()))).await?;
    let sets = caches.iter().map(|cache| cache.set("k", "v".into(), when(Condition::IfAbsent)));
    let stored = try_join_all(sets).await?.into_iter().filter(|stored| *stored).count();
    assert_eq!(stored, 1);
    Ok(())
}

pub(super) async fn the_policys_lifetime_is_the_default(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    put(&cache, "k", "v").await?;
    let Some(Lifetime::For(left)) = cache.lifetime("k").await? else {
        panic!("a value has an end");
    };
    assert!(left <= DEFAULT_TTL && left > DEFAULT_TTL - Duration::from_secs(30), "{left:?}");
    let cache = env.open(CachePolicy::new("brief").with_ttl(BRIEF)).await?;
    put(&cache, "k", "v").await?;
    cache.increment("n", 1, None).await?;
    env.pass(PAST).await;
    assert_eq!((got(&cache, "k").await?, got(&cache, "n").await?), (None, None));
    Ok(())
}

pub(super) async fn a_zero_lifetime_is_refused(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let zero = Lifetime::For(Duration::ZERO);
    let options = SetOptions::new().with_lifetime(zero);
    assert_eq!(kind(cache.set("k", "v".into(), options).await), ErrorKind::InvalidInput);
    assert_eq!(kind(cache.increment("k", 1, Some(zero)).await), ErrorKind::InvalidInput);
    assert_eq!(kind(cache.expire("k", zero).await), ErrorKind::InvalidInput);
    assert_eq!(got(&cache, "k").await?, None);
    Ok(())
}

pub(super) async fn keys_tags_and_values_have_limits(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy().with_max_value_bytes(1_000)).await?;
    let longest = "k".repeat(512);
    put(&cache, &longest, &"v".repeat(1_000)).await?;
    cache.set("k", "v".into(), tagged(&["t".repeat(128).as_str()])).await?;
    for key in [String::new(), "k".repeat(513)] {
        assert_eq!(kind(cache.get(&key).await), ErrorKind::InvalidInput);
        assert_eq!(
            kind(cache.set(&key, "v".into(), SetOptions::new()).await),
            ErrorKind::InvalidInput
        );
        assert_eq!(kind(cache.delete(std::slice::from_ref(&key)).await), ErrorKind::InvalidInput);
        assert_eq!(kind(cache.increment(&key, 1, None).await), ErrorKind::InvalidInput);
    }
    let many: Vec<String> = (0..=MAX_TAGS).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = "t".repeat(129);
    for tags in [&many[..], &[""], &[long.as_str()]] {
        let set = cache.set("k", "v".into(), tagged(tags)).await;
        assert_eq!(kind(set), ErrorKind::InvalidInput, "{tags:?}");
    }
    // One that is named twice is one.
    assert!(cache.set("k", "v".into(), tagged(&["a", "a", "b", "c", "d"])).await?);
    let large = CacheValue::from(vec![0; 1_001]);
    assert_eq!(kind(cache.set("k", large, SetOptions::new()).await), ErrorKind::TooLarge);
    Ok(())
}

pub(super) async fn deleting_counts_what_was_there_once(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    put(&cache, "a", "v").await?;
    cache.set("b", "v".into(), tagged(&["t"])).await?;
    cache.set("gone", "v".into(), tagged(&["u"])).await?;
    cache.increment("n", 1, None).await?;
    cache.invalidate_tag("u").await?;
    let keys = names(&["a", "b", "a", "n", "gone", "never"]);
    assert_eq!(cache.delete(&keys).await?, 3);
    assert_eq!(cache.delete(&keys).await?, 0);
    assert_eq!(cache.get_many(&keys).await?, vec![None; keys.len()]);
    assert_eq!(cache.delete(&[]).await?, 0);
    Ok(())
}

pub(super) async fn existing_is_neither_hit_nor_miss(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    cache.set("k", "v".into(), tagged(&["t"])).await?;
    assert!(cache.exists("k").await?);
    assert!(!cache.exists("x").await?);
    let stats = cache.stats().await?;
    assert_eq!((stats.hits, stats.misses, stats.errors), (0, 0, 0));
    cache.invalidate_tag("t").await?;
    assert!(!cache.exists("k").await?);
    Ok(())
}

pub(super) async fn many_are_got_in_their_order(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    for number in 0..20 {
        let options = if number % 3 == 0 { tagged(&["t"]) } else { SetOptions::new() };
        cache.set(&format!("k{number}"), number.to_string().into(), options).await?;
    }
    cache.set("gone", "v".into(), tagged(&["u"])).await?;
    cache.invalidate_tag("u").await?;
    let keys = names(&["k7", "never", "k0", "k19", "gone", "k7", "k3"]);
    let many = cache.get_many(&keys).await?;
    let many: Vec<_> = many.into_iter().map(super::text).collect();
    let many: Vec<_> = many.iter().map(Option::as_deref).collect();
    assert_eq!(many, [Some("7"), None, Some("0"), Some("19"), None, Some("7"), Some("3")]);
    assert_eq!(cache.get_many(&[]).await?, []);
    Ok(())
}

pub(super) async fn many_are_set_each_for_itself(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    put(&cache, "k3", "old").await?;
    let entries: Vec<_> = (0..10).map(|n| Entry::new(format!("k{n}"), "new")).collect();
    let absent = when(Condition::IfAbsent).with_tag("t");
    assert_eq!(cache.set_many(entries.clone(), absent).await?, 9);
    assert_eq!(got(&cache, "k3").await?.as_deref(), Some("old"));
    assert_eq!(cache.set_many(entries, when(Condition::IfPresent)).await?, 10);
    assert_eq!(got(&cache, "k3").await?.as_deref(), Some("new"));
    assert_eq!(cache.set_many(Vec::new(), SetOptions::new()).await?, 0);
    Ok(())
}

pub(super) async fn increments_are_exact(env: &dyn CacheEnv) -> Result<()> {
    let caches = try_join_all((0..8).map(|_| env.open(policy()))).await?;
    let additions = caches.iter().map(|cache| async move {
        for _ in 0..25 {
            cache.increment("n", 3, None).await?;
            cache.increment("n", -1, None).await?;
        }
        Ok::<_, base::Error>(())
    });
    try_join_all(additions).await?;
    assert_eq!(caches[0].increment("n", 0, None).await?, 8 * 25 * 2);
    assert_eq!(got(&caches[1], "n").await?.as_deref(), Some("400"));
    Ok(())
}

pub(super) async fn a_number_starts_from_zero_and_keeps_its_first_lifetime(
    env: &dyn CacheEnv,
) -> Result<()> {
    let cache = env.open(policy()).await?;
    assert_eq!(cache.increment("n", -5, Some(Lifetime::For(BRIEF))).await?, -5);
    assert_eq!(cache.increment("n", 2, Some(Lifetime::Unlimited)).await?, -3);
    assert_eq!(got(&cache, "n").await?.as_deref(), Some("-3"));
    cache.increment("unlimited", 1, Some(Lifetime::Unlimited)).await?;
    cache.increment("unlimited", 1, Some(Lifetime::For(BRIEF))).await?;
    env.pass(PAST).await;
    assert_eq!(cache.increment("n", 1, None).await?, 1, "it ran out, and starts anew");
    assert_eq!(cache.lifetime("unlimited").await?, Some(Lifetime::Unlimited));
    Ok(())
}

pub(super) async fn what_is_no_number_is_refused_and_stays(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    for value in ["x", "", "1.5", "01", "+1", "9223372036854775808"] {
        put(&cache, "k", value).await?;
        assert_eq!(kind(cache.increment("k", 1, None).await), ErrorKind::InvalidInput, "{value}");
        assert_eq!(got(&cache, "k").await?.as_deref(), Some(value));
    }
    for (start, by) in [(i64::MAX, 1), (i64::MIN, -1)] {
        cache.delete(&names(&["n"])).await?;
        assert_eq!(cache.increment("n", start, None).await?, start);
        assert_eq!(kind(cache.increment("n", by, None).await), ErrorKind::InvalidInput);
        assert_eq!(got(&cache, "n").await?, Some(start.to_string()));
        assert_eq!(cache.increment("n", -by, None).await?, start - by);
    }
    Ok(())
}

pub(super) async fn a_number_that_was_set_can_be_incremented(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    put(&cache, "k", "41").await?;
    assert_eq!(cache.increment("k", 1, None).await?, 42);
    cache.set("tagged", "41".into(), tagged(&["t"])).await?;
    assert_eq!(cache.increment("tagged", 1, None).await?, 42);
    assert_eq!(got(&cache, "tagged").await?.as_deref(), Some("42"));
    cache.invalidate_tag("t").await?;
    assert_eq!(got(&cache, "tagged").await?, None, "it kept its tag");
    assert_eq!(cache.increment("tagged", 1, None).await?, 1);
    cache.set("stays", "1".into(), tagged(&["t"]).with_ttl(BRIEF)).await?;
    cache.increment("stays", 1, Some(Lifetime::Unlimited)).await?;
    env.pass(PAST).await;
    assert_eq!(got(&cache, "stays").await?, None, "it kept its lifetime");
    Ok(())
}

pub(super) async fn expiring_sets_a_new_lifetime(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    put(&cache, "shorter", "v").await?;
    cache.increment("number", 1, None).await?;
    let brief = SetOptions::new().with_ttl(BRIEF);
    cache.set("longer", "v".into(), brief.with_tag("t")).await?;
    assert!(cache.expire("shorter", Lifetime::For(BRIEF)).await?);
    assert!(cache.expire("number", Lifetime::For(BRIEF)).await?);
    assert!(cache.expire("longer", Lifetime::For(DEFAULT_TTL)).await?);
    env.pass(PAST).await;
    assert_eq!((got(&cache, "shorter").await?, got(&cache, "number").await?), (None, None));
    assert_eq!(got(&cache, "longer").await?.as_deref(), Some("v"));
    cache.invalidate_tag("t").await?;
    assert_eq!(got(&cache, "longer").await?, None);
    assert!(!cache.expire("longer", Lifetime::Unlimited).await?);
    Ok(())
}

pub(super) async fn a_lifetime_without_end(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let unlimited = SetOptions::new().with_lifetime(Lifetime::Unlimited);
    cache.set("k", "v".into(), unlimited.with_tag("t")).await?;
    assert_eq!(cache.lifetime("k").await?, Some(Lifetime::Unlimited));
    assert!(cache.expire("k", Lifetime::For(DEFAULT_TTL)).await?);
    assert!(matches!(cache.lifetime("k").await?, Some(Lifetime::For(_))));
    assert!(cache.expire("k", Lifetime::Unlimited).await?);
    assert_eq!(cache.lifetime("k").await?, Some(Lifetime::Unlimited));
    Ok(())
}

pub(super) async fn a_tag_invalidates_its_entries_and_no_others(env: &dyn CacheEnv) -> Result<()> {
    let (one, two) = (env.open(policy()).await?, env.open(policy()).await?);
    cache_with_tags(&one).await?;
    two.invalidate_tag("user:7").await?;
    for cache in [&one, &two] {
        assert_eq!(got(cache, "a").await?, None);
        assert_eq!(got(cache, "b").await?, None);
        assert_eq!(got(cache, "c").await?.as_deref(), Some("v"));
        assert_eq!(got(cache, "d").await?.as_deref(), Some("v"));
        assert_eq!(cache.lifetime("a").await?, None);
    }
    one.invalidate_tag("never used").await
}

async fn cache_with_tags(cache: &Arc<dyn Cache>) -> Result<()> {
    cache.set("a", "v".into(), tagged(&["user:7"])).await?;
    cache.set("b", "v".into(), tagged(&["user:7", "songs"])).await?;
    cache.set("c", "v".into(), tagged(&["user:8", "songs"])).await?;
    put(cache, "d", "v").await
}

pub(super) async fn any_of_four_tags_invalidates(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let tags = ["a", "b", "c", "d"];
    for tag in tags {
        cache.set("k", "v".into(), tagged(&tags)).await?;
        assert_eq!(got(&cache, "k").await?.as_deref(), Some("v"));
        cache.invalidate_tag(tag).await?;
        assert_eq!(got(&cache, "k").await?, None, "{tag}");
    }
    Ok(())
}

pub(super) async fn what_is_stored_after_an_invalidation_stays(env: &dyn CacheEnv) -> Result<()> {
    let (one, two) = (env.open(policy()).await?, env.open(policy()).await?);
    for round in ["1", "2", "3"] {
        one.set("k", round.into(), tagged(&["t"])).await?;
        assert_eq!(got(&two, "k").await?.as_deref(), Some(round));
        two.invalidate_tag("t").await?;
        assert_eq!(got(&one, "k").await?, None);
    }
    Ok(())
}

pub(super) async fn a_pattern_removes_what_it_matches(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let other = env.open(CachePolicy::new("other")).await?;
    let keys = ["user:1:name", "user:2:name", "user:22:name", "user:*:name", "song:1"];
    for key in keys {
        put(&cache, key, "v").await?;
        put(&other, key, "v").await?;
    }
    assert_eq!(cache.invalidate_pattern(r"user:\*:*").await?, 1);
    assert_eq!(cache.invalidate_pattern("user:[^2]:name").await?, 1);
    assert_eq!(cache.invalidate_pattern("user:?:name").await?, 1);
    assert_eq!(got(&cache, "user:22:name").await?.as_deref(), Some("v"));
    assert_eq!(cache.invalidate_pattern("nothing*").await?, 0);
    assert_eq!(cache.invalidate_pattern("*").await?, 2);
    for key in keys {
        assert_eq!(got(&cache, key).await?, None);
        assert_eq!(got(&other, key).await?.as_deref(), Some("v"), "{key} of another namespace");
    }
    Ok(())
}

pub(super) async fn a_bad_pattern_is_refused(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    for pattern in ["", "[a", "a\\"] {
        let invalidated = cache.invalidate_pattern(pattern).await;
        assert_eq!(kind(invalidated), ErrorKind::InvalidInput, "{pattern:?}");
    }
    Ok(())
}

pub(super) async fn a_flush_leaves_other_namespaces(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    let other = env.open(CachePolicy::new("other")).await?;
    for cache in [&cache, &other] {
        cache_with_tags(cache).await?;
        cache.increment("n", 1, Some(Lifetime::Unlimited)).await?;
    }
    cache.flush().await?;
    for key in ["a", "b", "c", "d", "n"] {
        assert_eq!(got(&cache, key).await?, None, "{key}");
        assert!(other.exists(key).await?, "{key} of another namespace");
    }
    cache_with_tags(&cache).await?;
    assert_eq!(got(&cache, "c").await?.as_deref(), Some("v"));
    Ok(())
}

pub(super) async fn namespaces_do_not_see_each_other(env: &dyn CacheEnv) -> Result<()> {
    let one = env.open(CachePolicy::new("a")).await?;
    let two = env.open(CachePolicy::new("a.b")).await?;
    one.set("b:k", "one".into(), tagged(&["t"])).await?;
    two.set("k", "two".into(), tagged(&["t"])).await?;
    two.set("b:k", "two".into(), tagged(&["t"])).await?;
    one.invalidate_tag("t").await?;
    one.delete(&names(&["k"])).await?;
    assert_eq!(got(&one, "b:k").await?, None);
    assert_eq!(got(&two, "k").await?.as_deref(), Some("two"));
    assert_eq!(got(&two, "b:k").await?.as_deref(), Some("two"));
    Ok(())
}

pub(super) async fn every_read_is_counted(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    put(&cache, "k", "v").await?;
    cache.get("k").await?;
    cache.get("x").await?;
    cache.get_many(&names(&["k", "x", "y"])).await?;
    let source = super::Source::open();
    let options = state::cache::LoadOptions::new();
    cache.get_or_load("l", options.clone(), source.values()).await?;
    cache.get_or_load("l", options.clone(), source.values()).await?;
    cache.get_or_load("m", options, source.failures()).await.unwrap_or_default();
    let stats = cache.stats().await?;
    assert_eq!((stats.hits, stats.misses, stats.errors), (3, 5, 0), "{stats:?}");
    assert_eq!((stats.loads, stats.load_failures), (1, 1));
    assert_eq!(stats.hit_rate(), Some(3.0 / 8.0));
    assert!(stats.read_p50_us <= stats.read_p99_us);
    Ok(())
}

pub(super) async fn closing_twice_leaves_reading_and_writing(env: &dyn CacheEnv) -> Result<()> {
    let cache = env.open(policy()).await?;
    put(&cache, "k", "v").await?;
    cache.close().await?;
    cache.close().await?;
    assert_eq!(got(&cache, "k").await?.as_deref(), Some("v"));
    put(&cache, "k", "w").await?;
    assert_eq!(got(&cache, "k").await?.as_deref(), Some("w"));
    Ok(())
}

pub(super) async fn what_is_in_memory_is_complete_on_its_first_poll(
    env: &dyn CacheEnv,
) -> Result<()> {
    use base::vocabulary::Locality;
    use futures_util::FutureExt;

    let cache = env.open(policy()).await?;
    assert_eq!(cache.locality(), env.open(policy()).await?.locality());
    put(&cache, "k", "v").await?;
    if cache.locality() != Locality::InMemory {
        return Ok(());
    }
    let at_once = |what: &str, is_ready: bool| assert!(is_ready, "{what} was not ready");
    let key = names(&["k"]);
    at_once("get", cache.get("k").now_or_never().is_some());
    at_once("get_now", cache.get_now("k").is_some());
    at_once("set", cache.set("n", "1".into(), SetOptions::new()).now_or_never().is_some());
    at_once("exists", cache.exists("k").now_or_never().is_some());
    at_once("get_many", cache.get_many(&key).now_or_never().is_some());
    at_once("increment", cache.increment("n", 1, None).now_or_never().is_some());
    at_once("lifetime", cache.lifetime("k").now_or_never().is_some());
    at_once("invalidate_tag", cache.invalidate_tag("t").now_or_never().is_some());
    at_once("invalidate_pattern", cache.invalidate_pattern("x*").now_or_never().is_some());
    at_once("stats", cache.stats().now_or_never().is_some());
    at_once("delete", cache.delete(&key).now_or_never().is_some());
    at_once("flush", cache.flush().now_or_never().is_some());
    Ok(())
}

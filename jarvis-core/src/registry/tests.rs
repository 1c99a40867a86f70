use std::sync::Arc;

use super::*;
use crate::config::{Config, Source};
use base::clock::ManualClock;

fn told(text: &str) -> Vec<String> {
    let config = Config::from_toml(text).unwrap();
    let clock: SharedClock = Arc::new(ManualClock::new());
    let (_, report) = Registry::with_defaults().wire(&config, &clock);
    report.problems.iter().map(ToString::to_string).collect()
}

#[cfg(all(feature = "http", feature = "redis", feature = "postgres"))]
#[test]
fn the_built_in_map_wires_and_restarts_nothing() {
    let config = Config::load(&Source::empty()).unwrap();
    let clock: SharedClock = Arc::new(ManualClock::new());
    let (wiring, report) = Registry::with_defaults().wire(&config, &clock);
    assert!(report.problems.is_empty(), "{report}");
    let wiring = wiring.unwrap();
    assert_eq!(wiring.services.len(), 7);
    assert!(wiring.managed.iter().all(|service| service.restarter.is_none()));
    assert_eq!(wiring.managed[0].host.as_deref(), Some("localhost"));
}

#[test]
fn a_backend_complains_with_the_place_of_its_key() {
    let check = "[service.a]\n[[service.a.check]]\n";
    for (text, expected) in [
        (
            "type = \"tpc\"\n",
            "inline:3: service.a.check[0].type: unknown probe \"tpc\", did you mean \"tcp\"? Valid probes: ",
        ),
        (
            "type = \"tcp\"\nadress = \"h:1\"\n",
            "inline:4: service.a.check[0].adress: unknown key \"adress\", did you mean \"address\"? Valid keys: ",
        ),
        (
            "type = \"tcp\"\naddress = \"h:1\"\ninterval = \"5\"\n",
            "inline:5: service.a.check[0].interval: \"5\" is not a duration",
        ),
        ("type = \"tcp\"\naddress = \"h\"\n", "inline:2: service.a.check[0]: "),
    ] {
        let told = told(&format!("{check}{text}"));
        assert!(told.iter().any(|line| line.starts_with(expected)), "{expected}\n{told:#?}");
    }
}

#[cfg(all(feature = "redis", feature = "metrics"))]
#[tokio::test]
async fn what_is_on_one_url_shares_its_connections() {
    let url = "redis://127.0.0.1:1/3";
    let store = format!("[store]\nbus = {url:?}\nsession = {url:?}\ncache = {url:?}\n");
    let text = format!("{store}[lease]\ntype = \"redis\"\nurl = {url:?}\n");
    let config = Config::from_toml(&text).unwrap();
    let clock: SharedClock = Arc::new(ManualClock::new());
    let registry = Registry::with_defaults();
    registry.event_bus(&config, &clock).unwrap();
    registry.session_store(&config, &clock).unwrap();
    registry.cache_store(&config, &clock).unwrap();
    registry.leadership(&config, &clock).unwrap();
    assert_eq!(registry.redis().all().len(), 1);
}

#[test]
fn a_budget_that_is_never_reached_is_refused() {
    let base = "[service.a]\n[service.a.restart]\nvia = \"command\"\ncommand = [\"true\"]\n";
    assert!(told(base).is_empty(), "{:?}", told(base));
    let told_short = told(&format!("{base}window = \"20s\"\n"));
    assert!(
        told_short[0].starts_with("inline:2: service.a.restart: window = 20s is too short"),
        "{told_short:?}"
    );
    let told_long = told(&format!("{base}long_max = 9000\nlong_window = \"1h\"\n"));
    assert!(told_long[0].starts_with("inline:6: service.a.restart.long_window: "), "{told_long:?}");
    let told_stop = told(&format!("{base}stop_timeout = \"1h\"\n"));
    assert!(
        told_stop.iter().any(|line| line.contains("unknown key \"stop_timeout\"")),
        "{told_stop:?}"
    );
}

#[cfg(feature = "process")]
#[test]
fn a_stop_that_outlasts_its_action_is_refused() {
    let base = "[service.a.restart]\nvia = \"process\"\ncommand = [\"true\"]\n";
    assert!(told(&format!("{base}stop_timeout = \"50s\"\n")).is_empty());
    let refused = told(&format!("{base}stop_timeout = \"51s\"\n"));
    assert!(refused[0].starts_with("inline:4: service.a.restart.stop_timeout: "), "{refused:?}");
    assert!(refused[0].contains("make command_timeout longer"), "{refused:?}");
    let longer = format!("{base}stop_timeout = \"51s\"\ncommand_timeout = \"2m\"\n");
    assert!(told(&longer).is_empty());
}

#[test]
fn limits_that_forbid_every_restart_are_refused_and_self_suspicion_is_configured() {
    let refused = told("[limits]\nmax_restarts = 0\n");
    assert_eq!(refused, ["inline:1: limits: max_restarts must be at least 1"]);
    let text = "[limits]\nsuspect_self_above = 0.5\nsuspect_self_services = 8\n";
    let config = Config::from_toml(text).unwrap();
    let clock: SharedClock = Arc::new(ManualClock::new());
    let wiring = Registry::with_defaults().wire(&config, &clock).0.unwrap();
    let suspicion = wiring.settings.suspicion;
    assert_eq!((suspicion.share, suspicion.targets, suspicion.hosts), (0.5, 8, 2));
}

#[test]
fn a_service_without_a_check_is_asked_of_its_restarter() {
    let config = Config::from_toml(
        "[jarvis]\ninterval = \"7s\"\n[service.a.restart]\nvia = \"command\"\ncommand = [\"true\"]\n",
    )
    .unwrap();
    let clock: SharedClock = Arc::new(ManualClock::new());
    let wiring = Registry::with_defaults().wire(&config, &clock).0.unwrap();
    assert_eq!(wiring.services[0].checks.len(), 1);
    assert_eq!(wiring.services[0].checks[0].name.as_str(), "instance");
    assert_eq!(wiring.services[0].checks[0].policy.interval.as_secs(), 7);
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn what_is_said_of_a_store_before_it_is_opened_is_true() {
    let registry = Registry::with_defaults();
    let clock: SharedClock = Arc::new(ManualClock::new());
    let folder = tempfile::tempdir().unwrap();
    let head = format!("[jarvis]\nstate_dir = {:?}\n", folder.path());
    for (url, near) in [
        ("memory:", false),
        ("memory:", true),
        ("redis://127.0.0.1:1", false),
        ("redis://127.0.0.1:1", true),
    ] {
        let text = format!(
            "{head}[store]\nbus = {url:?}\nsession = {url:?}\ncache = {url:?}\n[cache]\nnear = {near}\n"
        );
        let config = Config::from_toml(&text).unwrap();
        let told = registry.localities(&config);
        assert_eq!(told.bus, registry.event_bus(&config, &clock).unwrap().locality(), "{url}");
        let sessions = registry.session_store(&config, &clock).unwrap();
        assert_eq!(told.sessions, sessions.locality(), "{url}");
        let cache = registry.cache_store(&config, &clock).unwrap();
        assert_eq!(told.cache, cache.locality(), "{url} {near}");
    }
}

#[cfg(all(feature = "http", feature = "redis", feature = "postgres"))]
#[test]
fn every_backend_takes_such_a_url_and_shows_nothing_of_it() {
    let text = "[store]\nbus = \"redis://:${file:secret}@h\"\nsession = \"redis://:${file:secret}@h\"\n\
         cache = \"redis://:${file:secret}@h\"\n\
         [lease]\ntype = \"redis\"\nurl = \"redis://:${file:secret}@h\"\n\
         [heartbeat]\nurl = \"https://h/ping/${file:secret}\"\n\
         [alert.a]\ntype = \"webhook\"\nurl = \"https://u:${file:secret}@h/x?k=${file:secret}\"\n\
         [[service.a.check]]\ntype = \"redis\"\nurl = \"redis://:${file:secret}@127.0.0.1:1\"\n\
         [[service.a.check]]\ntype = \"postgres\"\nurl = \"postgres://u:${file:secret}@127.0.0.1:1/db\"\n\
         [[service.a.check]]\ntype = \"postgres\"\nurl = \"host=h password=${file:secret} user=u\"\n\
         [[service.a.check]]\ntype = \"http\"\nurl = \"http://u:${file:secret}@h/\"\n";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "hun@ter/two#x?100%\n").unwrap();
    let source = Source::empty().with_directory(folder.path()).with_text(text);
    let config = Config::load(&source).unwrap();
    let clock: SharedClock = Arc::new(ManualClock::new());
    let registry = Registry::with_defaults();
    let (wiring, report) = registry.wire(&config, &clock);
    assert!(report.problems.is_empty(), "{report}");
    registry.event_bus(&config, &clock).unwrap();
    registry.session_store(&config, &clock).unwrap();
    registry.cache_store(&config, &clock).unwrap();
    registry.leadership(&config, &clock).unwrap();
    for text in [format!("{config:?}"), format!("{wiring:?}"), config.effective().to_string()] {
        for part in ["hun", "ter/", "two", "x?100"] {
            assert!(!text.contains(part), "{part}: {text}");
        }
    }
}

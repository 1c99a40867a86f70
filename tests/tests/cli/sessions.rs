//! `jarvis session` on the SQLite file, and on a real Redis, Cluster and Sentinel set.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;

use jarvis_core::clock::SystemClock;
use jarvis_core::config::Source;
use jarvis_core::jarvis::Jarvis;
use jarvis_core::session::{NewSession, SessionData, SessionId, SessionStore};
use jarvis_core::vocabulary::UserId;
use jarvis_tests::cli::{Finished, Workplace};
use serde_json::Value;

/// The places that sessions are kept in. Each test runs on all.
struct Place {
    work: Workplace,
    url: String,
    /// Keeps the tests on one Redis apart.
    user: String,
}

impl Place {
    fn all() -> Vec<Self> {
        std::iter::once(String::from("sqlite:"))
            .chain(super::redis_urls())
            .map(|url| {
                let work = Workplace::with_config("[jarvis]\nstate_dir = \"STATE\"\n");
                let user = format!("ada-{}", work.path().file_name().unwrap().to_string_lossy());
                Self { work, url, user }
            })
            .collect()
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let mut all = vec!["session"];
        all.extend(arguments);
        let mut command = self.work.command(&all);
        command.env("JARVIS_STORE__SESSION", &self.url).output().unwrap().into()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        let finished = self.run(&all);
        assert_eq!(finished.code, 0, "{} {arguments:?}: {finished:?}", self.url);
        finished.json()
    }

    /// A new session: its id and its handle.
    fn create(&self, data: &str) -> (String, String) {
        let made = self.json(&["create", "--user", &self.user, data]);
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        (text("id"), text("handle"))
    }

    fn handles(&self) -> Vec<String> {
        let listed = self.json(&["list", "--user", &self.user]);
        let listed = listed.as_array().unwrap().iter();
        listed.map(|session| session["handle"].as_str().unwrap().to_owned()).collect()
    }

    async fn store(&self) -> Arc<dyn SessionStore> {
        let source = Source::empty()
            .with_file(self.work.path().join("jarvis.toml"))
            .with_variable("JARVIS_STORE__SESSION", &self.url);
        let builder = Jarvis::builder().with_source(source).with_clock(SystemClock::new());
        builder.open().unwrap().sessions().await.unwrap()
    }
}

#[test]
fn a_session_is_made_read_changed_prolonged_and_ended() {
    for place in Place::all() {
        let made = place.json(&[
            "create",
            "--user",
            &place.user,
            "--ttl",
            "30m",
            r#"{"a":1,"b":{"c":2}}"#,
        ]);
        let (id, handle) = (made["id"].as_str().unwrap(), made["handle"].as_str().unwrap());
        assert_eq!(made["version"], 1);
        assert_eq!(made["ttl_ms"], 1_800_000);
        let read = place.json(&["get", id]);
        assert_eq!(read["data"]["b"]["c"], 2);
        assert!(read["id"].is_null(), "an id is shown only where it is made: {read}");
        assert_eq!(read["handle"], handle);

        // A patch keeps what it does not name, null removes.
        let changed = place.json(&["set", id, r#"{"b":{"d":3},"a":null}"#]);
        assert_eq!(changed["data"], serde_json::json!({"b": {"c": 2, "d": 3}}));
        assert_eq!(changed["version"], 2);
        let replaced = place.json(&["set", id, "{}", "--replace", "--version", "2"]);
        assert_eq!(replaced["data"], serde_json::json!({}));

        let late = place.run(&["set", id, "{}", "--version", "2"]);
        assert_eq!(late.code, 1, "{late:?}");
        assert!(late.stderr.contains("at version 3, not 2"), "{late:?}");

        assert_eq!(place.handles(), [handle]);
        assert!(place.json(&["extend", handle, "--ttl", "2h"])["expires_at"].is_string());
        assert_eq!(place.json(&["delete", handle])["deleted"], 1);
        for gone in [&["get", id][..], &["set", id, "{}"], &["extend", id], &["delete", id]] {
            let finished = place.run(gone);
            assert_eq!(finished.code, 1, "{gone:?}: {finished:?}");
        }
        assert!(place.handles().is_empty());
    }
}

#[test]
fn a_session_moves_to_a_fresh_id_that_is_shown_once() {
    for place in Place::all() {
        let made = place.json(&["create", r#"{"cart":[1]}"#]);
        let id = made["id"].as_str().unwrap();
        let login = place.json(&["regenerate", id, "--user", &place.user]);
        let fresh = login["id"].as_str().unwrap();
        assert_ne!(fresh, id);
        assert_eq!((&login["data"], &login["version"]), (&made["data"], &serde_json::json!(2)));
        assert_eq!(login["user"], *place.user);
        assert_eq!(place.handles(), [login["handle"].as_str().unwrap()]);
        for gone in [&["get", id][..], &["regenerate", id]] {
            let finished = place.run(gone);
            assert_eq!(finished.code, 1, "{gone:?}: {finished:?}");
        }
        let by_handle = place.run(&["regenerate", login["handle"].as_str().unwrap()]);
        assert!(by_handle.stderr.contains("if it is a handle"), "{by_handle:?}");
        // Without --user it stays whose it was.
        let text = place.run(&["regenerate", fresh]);
        assert!(text.stdout.contains("The id is not shown again."), "{text:?}");
        assert!(text.stdout.contains(&place.user), "{text:?}");
    }
}

#[test]
fn a_handle_ends_a_session_and_does_not_open_it() {
    for place in Place::all() {
        let (id, handle) = place.create("{}");
        let opened = place.run(&["get", &handle]);
        assert_eq!(opened.code, 1, "{opened:?}");
        assert!(opened.stderr.contains("if it is a handle"), "{opened:?}");
        for text in [place.run(&["get", &id]), place.run(&["list", "--user", &place.user])] {
            assert!(!text.stdout.contains(&id), "{text:?}");
            assert!(text.stdout.contains(&handle), "{text:?}");
        }
        assert_eq!(place.run(&["delete", &handle]).code, 0);
    }
}

#[test]
fn deleting_a_users_sessions_keeps_the_one_and_refuses_a_slip() {
    for place in Place::all() {
        let (id, handle) = place.create("{}");
        place.create("{}");
        place.create("{}");
        // What is left of an id may begin with a dash.
        let except = format!("--except={}", &id[1..]);
        let slip = place.run(&["delete", "--user", &place.user, &except]);
        assert_eq!(slip.code, 1, "{slip:?}");
        assert_eq!(place.handles().len(), 3);
        let kept = place.json(&["delete", "--user", &place.user, "--except", &id]);
        assert_eq!(kept["deleted"], 2);
        assert_eq!(place.handles(), [handle]);
        assert_eq!(place.json(&["delete", "--user", &place.user])["deleted"], 1);
        assert!(place.handles().is_empty());
    }
}

#[test]
fn ids_and_data_come_from_files_and_standard_input_too() {
    let place = Place::all().swap_remove(0);
    let made = place.json(&["create"]);
    let id = made["id"].as_str().unwrap();
    place.work.write("id.txt", &format!("{id}\n"));
    place.work.write("data.json", "{\"from\":\"a file\"}\n");
    assert_eq!(place.json(&["set", "@id.txt", "@data.json"])["data"]["from"], "a file");
    let mut command = place.work.command(&["session", "get", "-", "--output", "json"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(id.as_bytes()).unwrap();
    let finished = Finished::from(child.wait_with_output().unwrap());
    assert_eq!(finished.json()["data"]["from"], "a file");
    for (wrong, code, hint) in [
        (&["set", "-", "-"][..], 2, "only one value"),
        (&["get", "@nowhere"], 2, "nowhere"),
        (&["set", "@id.txt", "[]"], 2, "JSON object"),
        (&["set", "@id.txt", "{"], 2, "ends too early"),
        (&["get", ""], 2, "1 to 128 bytes"),
        (&["create", "--ttl", "5"], 2, "30s"),
        (&["create", "--ttl", "0s"], 2, "ttl"),
        (&["delete"], 2, "SESSION"),
        (&["delete", "@id.txt", "--user", "ada"], 2, "--user"),
        (&["set", "@id.txt", "{}", "--version", "x"], 2, "--version"),
    ] {
        let finished = place.run(wrong);
        assert_eq!(finished.code, code, "{wrong:?}: {finished:?}");
        assert!(finished.stderr.contains(hint), "{wrong:?}: {finished:?}");
    }
}

#[test]
fn numbers_of_another_language_keep_their_digits() {
    let place = Place::all().swap_remove(0);
    let (id, _) = place.create(r#"{"big":123456789012345678901234567890,"small":0.10}"#);
    let set = place.run(&["set", &id, r#"{"more":1}"#]);
    assert!(
        set.stdout.contains(r#"{"big":123456789012345678901234567890,"more":1,"small":0.10}"#),
        "{set:?}"
    );
}

#[test]
fn of_two_commands_at_once_one_wins_and_the_other_is_told() {
    for place in Place::all() {
        let (id, _) = place.create("{}");
        for version in 1..=5 {
            let expected = version.to_string();
            let start = |who: &str| {
                let data = format!("{{\"winner\":\"{who}\"}}");
                let arguments = ["session", "set", &id, &data, "--version", &expected];
                let mut command = place.work.command(&arguments);
                command.env("JARVIS_STORE__SESSION", &place.url).spawn().unwrap()
            };
            let children = [start("one"), start("two")];
            let mut codes: Vec<i32> = children
                .into_iter()
                .map(|child| Finished::from(child.wait_with_output().unwrap()).code)
                .collect();
            codes.sort_unstable();
            assert_eq!(codes, [0, 1], "{} version {version}", place.url);
        }
        let read = place.json(&["get", &id]);
        assert_eq!(read["version"], 6);
    }
}

#[test]
fn patches_at_once_are_all_kept() {
    for place in Place::all() {
        let (id, _) = place.create("{}");
        let children: Vec<_> = (0..6)
            .map(|number| {
                let data = format!("{{\"key{number}\":{number}}}");
                let mut command = place.work.command(&["session", "set", &id, &data]);
                command.env("JARVIS_STORE__SESSION", &place.url).spawn().unwrap()
            })
            .collect();
        for child in children {
            let finished = Finished::from(child.wait_with_output().unwrap());
            assert_eq!(finished.code, 0, "{finished:?}");
        }
        let read = place.json(&["get", &id]);
        assert_eq!(read["data"].as_object().unwrap().len(), 6, "{read}");
        assert_eq!(read["version"], 7);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_made_a_program_sees_and_the_other_way_round() {
    for place in Place::all() {
        let store = place.store().await;
        let (id, _) = place.create(r#"{"from":"the command"}"#);
        let id = SessionId::new(id).unwrap();
        let session = store.load(&id).await.unwrap().unwrap();
        assert_eq!(session.data.as_str(), r#"{"from":"the command"}"#);
        let new = NewSession::new()
            .with_user(UserId::new(&place.user).unwrap())
            .with_data(SessionData::parse(r#"{"from":"the program"}"#).unwrap());
        let made = store.create(new).await.unwrap();
        let read = place.json(&["get", made.id.expose()]);
        assert_eq!(read["data"]["from"], "the program");
        assert_eq!(place.handles().len(), 2);
    }
}

#[test]
fn asking_makes_no_file_and_lists_go_over_all_users() {
    let place = Place::all().swap_remove(0);
    let listed = place.run(&["list"]);
    assert_eq!((listed.code, listed.stdout.as_str()), (0, "0 sessions\n"), "{listed:?}");
    assert_eq!(place.run(&["get", "nobody"]).code, 1);
    assert_eq!(place.run(&["delete", "--user", "nobody"]).code, 0);
    assert!(!place.work.state_dir().exists(), "a question left files behind");
    place.create("{}");
    place.json(&["create"]);
    assert_eq!(place.json(&["list"]).as_array().unwrap().len(), 2);
    let one = place.run(&["list", "--limit", "1"]);
    assert!(one.stdout.contains("there are more"), "{one:?}");
    assert_eq!(place.run(&["list", "--output", "jsonl"]).stdout.lines().count(), 2);
}

#[test]
fn a_store_in_memory_is_wrong_usage_and_one_that_is_gone_is_exit_3_at_once() {
    let place =
        Workplace::with_config("[jarvis]\nstate_dir = \"STATE\"\n[store]\nsession = \"memory:\"\n");
    let finished = place.run(&["session", "list"]);
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("JARVIS_STORE__SESSION"), "{finished:?}");
    let url = format!("redis://:hunter2@127.0.0.1:{}", super::stage::free_port());
    #[expect(clippy::disallowed_methods, reason = "a real process runs in real time")]
    let began = std::time::Instant::now();
    let mut command = place.command(&["session", "create"]);
    let finished: Finished = command.env("JARVIS_STORE__SESSION", url).output().unwrap().into();
    assert_eq!(finished.code, 3, "{finished:?}");
    assert!(began.elapsed() < std::time::Duration::from_secs(3), "it took {:?}", began.elapsed());
    assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
}

#[test]
fn wrong_stores_are_told_with_their_line_and_without_their_password() {
    for (url, hint) in [
        ("redsi://:hunter2@h", "did you mean \"redis\"?"),
        ("127.0.0.1/hunter2", "a URL is expected"),
        ("redis://:hunter2@/x/y", "redis://"),
    ] {
        let text = format!("[jarvis]\nstate_dir = \"STATE\"\n[store]\nsession = \"{url}\"\n");
        let place = Workplace::with_config(&text);
        for command in [&["session", "list"][..], &["config", "check"], &["check"]] {
            let finished = place.run(command);
            assert_eq!(finished.code, 2, "{command:?}: {finished:?}");
            let said = finished.stdout + &finished.stderr;
            assert!(said.contains("jarvis.toml:4") && said.contains(hint), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
    let text = "[jarvis]\nstate_dir = \"STATE\"\n[session]\nttl = \"0s\"\nhash_id = true\n";
    let wrong = Workplace::with_config(text).run(&["config", "check"]).stdout;
    assert!(wrong.contains("did you mean \"hash_ids\"?"), "{wrong}");
    let text = "[jarvis]\nstate_dir = \"STATE\"\n[session]\nttl = \"0s\"\nencryption_keys = [\"hunter2\"]\n";
    let wrong = Workplace::with_config(text).run(&["config", "check"]).stdout;
    assert!(wrong.contains("jarvis.toml:4: session.ttl"), "{wrong}");
    assert!(wrong.contains("plain text") && !wrong.contains("hunter2"), "{wrong}");
}

#[test]
fn a_configured_file_is_relative_to_the_configuration_and_data_in_it_is_encrypted() {
    let key = "00".repeat(32);
    let text = "[jarvis]\nstate_dir = \"STATE\"\n[store]\nsession = \"sqlite:kept/sessions.db\"\n[session]\nencryption_keys = [\"${file:key}\"]\n";
    let place = Workplace::with_config(text);
    place.write("key", &key);
    let made = place.run(&["session", "create", "{\"secret\":\"plaintext-marker\"}"]);
    assert_eq!(made.code, 0, "{made:?}");
    let folder = place.path().join("kept");
    let files = std::fs::read_dir(folder).unwrap().flatten();
    let stored: Vec<u8> = files.flat_map(|file| std::fs::read(file.path()).unwrap()).collect();
    assert!(!stored.is_empty());
    assert!(!stored.windows(16).any(|window| window == b"plaintext-marker"));
    for format in ["text", "json"] {
        let shown = place.run(&["config", "show", "--output", format]);
        assert!(!shown.stdout.contains(&key), "{shown:?}");
    }
}

#[test]
fn shells_complete_these_commands() {
    let place = Workplace::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(&["completions", shell]).stdout;
        for word in ["session", "extend", "except", "cache", "invalidate", "persist"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
}

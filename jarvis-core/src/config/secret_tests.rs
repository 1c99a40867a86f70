//! What `${file:…}` and `${env:…}` put in is one value, and no text shows it.

use super::*;
use base::secret::mask;

const SECRET: &str = "hun@ter/two#x?100%";
const ENCODED: &str = "hun%40ter%2Ftwo%23x%3F100%25";

fn source(text: &str) -> (tempfile::TempDir, Source) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
    std::fs::write(folder.path().join("short"), "abc\n").unwrap();
    let source = Source::empty().with_directory(folder.path()).with_text(text);
    (folder, source)
}

fn load(text: &str) -> (tempfile::TempDir, Config) {
    let (folder, source) = source(text);
    let config = Config::load(&source).unwrap();
    (folder, config)
}

#[test]
fn a_secret_is_one_value_in_every_url() {
    let (_folder, config) = load(
        "[store]\nbus = \"redis://:${file:secret}@h\"\nsession = \"redis://:${file:secret}@h\"\n\
         cache = \"redis+sentinel://u:${file:secret}@a,b/m/0?sentinel_password=${file:secret}\"\n\
         [lease]\ntype = \"redis\"\nurl = \"redis://:${file:secret}@h\"\n\
         [heartbeat]\nurl = \"https://h/ping/${file:secret}\"\n\
         [alert.a]\ntype = \"webhook\"\nurl = \"https://u:${file:secret}@h/x?k=${file:secret}\"\n\
         [[service.a.check]]\ntype = \"postgres\"\nurl = \"postgres://u:${file:secret}@127.0.0.1:1/db\"\n\
         [[service.a.check]]\ntype = \"postgres\"\nurl = \"host=h password=${file:secret} user=u\"\n\
         [[service.a.check]]\ntype = \"http\"\nurl = \"http://u:${file:secret}@h/\"\n\
         [[service.a.check]]\ntype = \"tcp\"\naddress = \"h:1\"\nsend = \"AUTH ${file:secret}\"\n",
    );
    let whole = |url: &str| url.replace("SECRET", ENCODED);
    assert_eq!(config.store.bus.expose(), whole("redis://:SECRET@h"));
    assert_eq!(config.store.session.expose(), whole("redis://:SECRET@h"));
    assert_eq!(
        config.store.cache.expose(),
        "redis+sentinel://u:hun%40ter%2Ftwo%23x%3F100%25@a,b/m/0?sentinel_password=hun%40ter/two%23x%3F100%25"
    );
    let text = |section: &Section| section.text("url").unwrap();
    assert_eq!(text(&config.lease.as_ref().unwrap().section), whole("redis://:SECRET@h"));
    let heartbeat = config.heartbeat.as_ref().unwrap();
    assert_eq!(text(heartbeat), "https://h/ping/hun%40ter/two%23x%3F100%25");
    assert_eq!(
        text(&config.alerts[0].section),
        "https://u:hun%40ter%2Ftwo%23x%3F100%25@h/x?k=hun%40ter/two%23x%3F100%25"
    );
    let checks = &config.services[0].checks;
    assert_eq!(text(&checks[0].section), whole("postgres://u:SECRET@127.0.0.1:1/db"));
    assert_eq!(text(&checks[1].section), format!("host=h password='{SECRET}' user=u"));
    assert_eq!(text(&checks[2].section), whole("http://u:SECRET@h/"));
    assert_eq!(checks[3].section.text("send").unwrap(), format!("AUTH {SECRET}"));
}

#[test]
fn what_is_loaded_is_masked_in_errors_events_and_texts_until_it_is_dropped() {
    let (_folder, source) = source(
        "[service.a.check]\ntype = \"tcp\"\naddress = \"h:1\"\nsend = \"${env:MASKED_1}\"\n",
    );
    let secret = "Geheim-8151-only-here";
    let config = Config::load(&source.with_variable("MASKED_1", secret)).unwrap();
    let error = base::Error::new(base::ErrorKind::Unavailable, format!("the peer said {secret}"))
        .with_context("answer", secret)
        .with_source(std::io::Error::other(secret));
    let message = format!("{secret} was refused");
    let event = base::events::Event::ConfigRefused { reason: message.clone() };
    let base::events::Event::ConfigRefused { reason } = event.masked() else { panic!("another") };
    let held = config.secrets();
    drop(config);
    for text in [
        error.to_string(),
        format!("{error:?}"),
        reason,
        base::text::one_line(&message, 80),
        base::text::excerpt(message.as_bytes(), 12),
        base::text::bounded(&message, 12),
    ] {
        assert!(!text.contains("Geheim") && text.contains("[red"), "{text}");
    }
    drop(held);
    assert_eq!(mask(secret), secret, "nobody holds it any more");
}

#[test]
fn what_the_environment_says_of_places_and_switches_stays_readable() {
    let text = "[jarvis]\nmode = \"${env:MODE_X}\"\n[service.a.check]\ntype = \"http\"\n\
                url = \"http://${env:HOST_X}:${env:PORT_X}/x\"\ninterval = \"${env:EVERY_X}\"\n\
                [service.b.check]\ntype = \"postgres\"\nurl = \"${env:URL_X}\"\n\
                [service.c.check]\ntype = \"postgres\"\nurl = \"postgres://${env:USER_X}:${env:PASSWORD_X}@h/d\"\n";
    let (_folder, source) = source(text);
    let source = [
        ("MODE_X", "observe"),
        ("HOST_X", "coach.example.internal"),
        ("PORT_X", "8000"),
        ("EVERY_X", "1500ms"),
        ("URL_X", "postgres://app:pa%40ss-8152@db.example.internal/dawg"),
        ("USER_X", "dawg-user"),
        ("PASSWORD_X", "swordfish-8152"),
    ]
    .iter()
    .fold(source, |source, (name, value)| source.with_variable(*name, *value));
    let _config = Config::load(&source).unwrap();
    for shown in
        ["observe", "coach.example.internal:8000", "1500ms", "db.example.internal", "dawg-user"]
    {
        assert_eq!(mask(shown), shown);
    }
    for hidden in ["pa%40ss-8152", "pa@ss-8152", "swordfish-8152"] {
        assert_eq!(mask(hidden), "[redacted]");
    }
}

#[test]
fn a_short_secret_is_told_and_a_wrong_place_is_refused() {
    let told = |text: &str| {
        let (_folder, source) = source(text);
        let source = source.with_variable("CREDENTIALS", "u:p@ss/word@h");
        let (config, report) = Config::inspect(&source);
        let lines: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
        (config.is_some(), lines.join("\n"))
    };
    let (loaded, lines) = told("[heartbeat]\nurl = \"https://u:${file:short}@h\"\n");
    assert!(loaded, "{lines}");
    assert!(
        lines
            .starts_with("inline:2: warning: heartbeat.url: the value of ${file:short} is shorter")
    );
    assert!(!lines.contains("abc"), "{lines}");
    let (loaded, lines) = told("[heartbeat]\nurl = \"https://${env:CREDENTIALS}/x\"\n");
    assert!(!loaded && lines.contains("${env:CREDENTIALS}: it stands where the host"), "{lines}");
    for url in ["postgres://u:hun@ter/two#x@h/db", "redis://:a/b@h", "${env:CREDENTIALS}"] {
        let text = format!("[service.a.check]\ntype = \"postgres\"\nurl = \"{url}\"\n");
        let (loaded, lines) = told(&text);
        assert!(!lines.contains("ter/") && !lines.contains("p@ss"), "{lines}");
        if url.contains("://") {
            assert!(!loaded && lines.contains("holds an unencoded"), "{url}: {lines}");
        }
    }
}

#[test]
fn the_listing_shows_no_path_of_a_receiver_and_no_password() {
    let (_folder, config) = load(
        "[heartbeat]\nurl = \"https://hc.example/PING-8153\"\n\
         [alert.slack]\ntype = \"webhook\"\nurl = \"https://hooks.example/services/T0/B0/xyz-8153\"\n\
         [alert.other]\ntype = \"webhook\"\nurl = \"https://hooks.example/${file:secret}\"\n\
         [[service.a.check]]\ntype = \"postgres\"\nurl = \"host=db user=u password=Pw-8153 dbname=d\"\n\
         [[service.a.check]]\ntype = \"http\"\nurl = \"http://h/health?token=Tk-8153\"\n",
    );
    let shown: Vec<String> =
        config.show().iter().map(|shown| format!("{} {}", shown.key, shown.value)).collect();
    let shown = shown.join("\n");
    assert!(!shown.contains("8153"), "{shown}");
    for line in [
        "alert.slack.url \"https://hooks.example/[redacted]\"",
        "alert.other.url \"https://hooks.example/${file:secret}\"",
        "heartbeat.url \"https://hc.example/[redacted]\"",
        "service.a.check[0].url \"host=db user=u password=[redacted] dbname=d\"",
        "service.a.check[1].url \"http://h/health?token=[redacted]\"",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
}

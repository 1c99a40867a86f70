//! What other machines and the service manager see of a running `jarvis up`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use jarvis_tests::cli::{Running, wait_until};
use rustix::process::Signal;

use super::stage::{House, LONG};

fn address(up: &mut Running) -> String {
    let line = up.line_with("serves /healthz", LONG);
    let url = line.split_whitespace().next().unwrap();
    url.strip_prefix("http://").unwrap().to_owned()
}

fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    // 1.0: the body is as it is, not in chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[test]
fn healthz_status_and_metrics_are_served_beside_a_scraper_that_hangs() {
    let house = House::of(&["api"]);
    let mut up = house.place.start(&["up", "--http", "127.0.0.1:0"]);
    let address = address(&mut up);
    house.settled("api");
    // More than are served at a time; none ever sends its request.
    let hung: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let (code, health) = get(&address, "/healthz");
    assert_eq!(code, 200, "{health}");
    let health: serde_json::Value = serde_json::from_str(&health).unwrap();
    assert_eq!(health["alive"], true);
    let (code, services) = get(&address, "/health");
    assert_eq!(code, 200, "{services}");
    let services: serde_json::Value = serde_json::from_str(&services).unwrap();
    assert_eq!(services["state"], "healthy");
    assert_eq!(services["services"], serde_json::json!([{ "service": "api", "state": "healthy" }]));
    let (code, status) = get(&address, "/status");
    assert_eq!(code, 200);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["platform"]["state"], "healthy");
    let (code, metrics) = get(&address, "/metrics");
    assert_eq!(code, 200);
    assert!(
        metrics.contains("service=\"api\"") && metrics.trim_end().ends_with("# EOF"),
        "{metrics}"
    );
    assert_eq!(get(&address, "/").0, 404);
    let killed = house.signal("api", Signal::KILL);
    house.healed("api", killed);
    drop(hung);
}

#[test]
fn an_address_that_is_taken_is_told_before_anything_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let house = House::of(&["api"]);
    let finished = house.run(&["up", "--http", &taken.local_addr().unwrap().to_string()]);
    assert_ne!(finished.code, 0);
    assert!(finished.stderr.contains("127.0.0.1:"), "{finished:?}");
    assert_eq!(house.pids("api"), [] as [i32; 0]);
}

#[test]
fn systemd_is_told_of_each_turn() {
    let house = House::of(&["api"]);
    let socket = house.place.path().join("notify");
    let listener = UnixDatagram::bind(&socket).unwrap();
    listener.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut told = String::new();
    let mut hear = |wanted: &str| {
        let mut buffer = [0; 4096];
        let found = wait_until(LONG, || {
            if let Ok(length) = listener.recv(&mut buffer) {
                told.push_str(&String::from_utf8_lossy(&buffer[..length]));
                told.push('\n');
            }
            told.contains(wanted).then(|| told.clear())
        });
        assert!(found.is_some(), "no {wanted:?} in {told:?}");
    };
    let mut command = house.place.command(&["up"]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "600000");
    let mut child = command.spawn().unwrap();
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("STATUS=HEALTHY  1 healthy");
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    hear("RELOADING=1");
    hear("READY=1");
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    hear("STOPPING=1");
    let status = wait_until(LONG, || child.try_wait().unwrap()).expect("it ends");
    assert_eq!(status.code(), Some(0));
}

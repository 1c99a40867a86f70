//! Names, as the machine's own resolver asks a real server for them over UDP.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use jarvis_tests::cli::{Finished, Running};

use super::stage::{House, LONG};

/// What the server does with a name.
#[derive(Debug, Clone, Copy)]
enum Reply {
    Address(Ipv4Addr),
    ServerFailure,
    NoSuchName,
    Silence,
}

/// A DNS server (RFC 1035) that knows a few names. It ends with the process.
struct NameServer {
    address: Ipv4Addr,
    names: Arc<Mutex<HashMap<&'static str, Reply>>>,
}

impl NameServer {
    fn start() -> Self {
        // Resolvers ask port 53 only. Every address of 127/8 is our own; one that nobody uses.
        let own = std::process::id().to_le_bytes();
        let address = Ipv4Addr::new(127, 53, own[1], own[0].clamp(1, 254));
        let socket = UdpSocket::bind((address, 53)).unwrap_or_else(|error| {
            panic!("this test serves DNS on {address}:53, run it as root: {error}")
        });
        let names: Arc<Mutex<HashMap<&'static str, Reply>>> = Arc::default();
        let known = Arc::clone(&names);
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let Some((name, kind)) = question(&buffer[..length]) else { continue };
                let reply = known.lock().unwrap().get(name.as_str()).copied();
                let reply = reply.unwrap_or(Reply::NoSuchName);
                if let Some(answer) = answer(&buffer[..length], kind, reply) {
                    let _gone = socket.send_to(&answer, from);
                }
            }
        });
        Self { address, names }
    }

    fn say(&self, name: &'static str, reply: Reply) {
        self.names.lock().unwrap().insert(name, reply);
    }
}

const HEADER: usize = 12;
/// The type of an IPv4 address.
const A: u16 = 1;

/// The name that is asked for, and the type.
fn question(query: &[u8]) -> Option<(String, u16)> {
    let mut rest = query.get(HEADER..)?;
    let mut labels = Vec::new();
    while let [length, tail @ ..] = rest {
        let length = usize::from(*length);
        if length == 0 {
            let kind = tail.first_chunk::<2>()?;
            return Some((labels.join("."), u16::from_be_bytes(*kind)));
        }
        labels.push(String::from_utf8_lossy(tail.get(..length)?).to_lowercase());
        rest = &tail[length..];
    }
    None
}

fn answer(query: &[u8], kind: u16, reply: Reply) -> Option<Vec<u8>> {
    // The question ends with its name's empty label, the type and the class.
    let name = query[HEADER..].iter().position(|byte| *byte == 0)?;
    let question = query.get(HEADER..HEADER + name + 5)?;
    let (code, address) = match reply {
        Reply::Silence => return None,
        Reply::ServerFailure => (2, None),
        Reply::NoSuchName => (3, None),
        Reply::Address(address) => (0, Some(address).filter(|_| kind == A)),
    };
    let mut bytes = query[..2].to_vec();
    // An answer, recursion wished for and available.
    bytes.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    bytes.extend(question);
    if let Some(address) = address {
        // The name of the question, an address, class IN, for no time at all.
        bytes.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        bytes.extend(address.octets());
    }
    Some(bytes)
}

/// The same command, with that server as the only one of its machine.
fn asking(house: &House, server: &NameServer, arguments: &[&str]) -> Command {
    let text = format!("nameserver {}\noptions timeout:30 attempts:1\n", server.address);
    house.place.write("resolv.conf", &text);
    house.place.write("nsswitch.conf", "hosts: files dns\n");
    let inner = house.place.command(arguments);
    let script = "mount --bind resolv.conf /etc/resolv.conf && { [ ! -e /etc/nsswitch.conf ] || \
        mount --bind nsswitch.conf /etc/nsswitch.conf; } && exec \"$0\" \"$@\"";
    let how = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let mut command = Command::new("unshare");
    command.args([how, "sh", "-c", script]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    command.current_dir(house.place.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn fault_13_a_name_server_that_fails_is_silent_or_forgets_restarts_nothing() {
    let server = NameServer::start();
    let local = Reply::Address(Ipv4Addr::LOCALHOST);
    server.say("well.test", local);
    server.say("moves.test", local);
    server.say("broken.test", Reply::ServerFailure);
    server.say("silent.test", Reply::Silence);
    let house = House::of(&["api"]);
    let port: u16 = {
        let text = house.text();
        let (_, rest) = text.split_once("http://127.0.0.1:").unwrap();
        rest.split('/').next().unwrap().parse().unwrap()
    };
    let touched = house.place.path().join("touched");
    let service = |name: &str| {
        format!(
            "\n[service.{name}]\n[[service.{name}.check]]\ntype = \"http\"\n\
             url = \"http://{name}.test:{port}/health\"\n[service.{name}.restart]\n\
             via = \"command\"\ncommand = [\"touch\", {touched:?}]\n"
        )
    };
    let names = ["well", "moves", "broken", "silent", "nothing"];
    let services: String = names.iter().map(|name| service(name)).collect();
    // A command has no time to stop in; and a slow answer is not what this is about.
    let text = house.text().replace("stop_timeout = \"5s\"\n", "");
    let text = text.replace("timeout = \"1500ms\"", "timeout = \"10s\"");
    house.configure(&format!("{text}{services}"));

    let mut up = Running::of(asking(&house, &server, &["up"]));
    up.line_with("watches 6 services", LONG);
    for name in ["api", "well", "moves"] {
        house.settled(name);
    }
    // While nothing listened yet, that was no name's fault.
    let _before = std::fs::remove_file(&touched);
    // One round of real probes: each name for itself, and none waits for the silent one.
    let checked = asking(&house, &server, &["check", "--output", "json"]).output().unwrap();
    let checked = Finished::from(checked);
    let answer = checked.json();
    let of = |name: &str| {
        let services = answer["services"].as_array().unwrap();
        services.iter().find(|service| service["service"] == name).unwrap().clone()
    };
    assert_eq!(of("well")["state"], "healthy", "{answer:#}");
    for name in ["broken", "silent", "nothing"] {
        let found = of(name);
        assert_eq!(found["state"], "down", "{found:#}");
        assert_eq!(found["checks"][0]["observation"]["kind"], "dns", "{found:#}");
    }

    // It resolved once, and its server fails since: that is no reason to restart it.
    server.say("moves.test", Reply::ServerFailure);
    let held = house.wait_for("moves", |status| {
        status["health"]["state"] == "down" && status["operator"]["lifecycle"]["phase"] == "held"
    });
    assert_eq!(held["operator"]["lifecycle"]["hold"]["gate"], "failure_kind", "{held:#}");
    // Its record is back, and seen at once: nothing is cached.
    server.say("moves.test", local);
    house.settled("moves");
    assert!(!touched.exists(), "{:#?}", house.events_of("action_started"));
    up.signal(rustix::process::Signal::INT);
    assert_eq!(up.finish(LONG).0, 0);
}

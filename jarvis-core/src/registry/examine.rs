//! What a configuration meets on this machine: whether what it names is there and may be used.
//! Looks and connects; sends nothing, writes nothing, and runs nothing but what a platform is asked
//! with (`systemctl show`, an `identity` command).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use rustix::fs::Access;

use super::facts::{Facts, Named};
use super::wiring::{Described, Part, Wiring};
use crate::config::{Config, Problem, Report, Section, Weight};
use crate::control::socket_path;
use base::clock::{ClockExt, SharedClock};
use base::net::address::Endpoint;
use base::net::connect::open;
use supervision::restart::{RunState, ServiceRestarter};

/// How long a platform may take to say what runs, and a target to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many are asked at once.
const AT_ONCE: usize = 32;
/// The longest path of a Unix socket on Linux (`sun_path`), without its final zero.
const LONGEST_SOCKET: usize = 107;

/// Looks at everything that a configuration names: the platforms of what is to be restarted, the
/// targets of the checks and the receivers of the alerts, commands, and the state directory.
///
/// An error of the report is something that does not work now; a warning, something that works
/// and that somebody should look at, such as a container that Docker restarts by itself too.
pub async fn examine(config: &Config, wiring: &Wiring, clock: &SharedClock) -> Report {
    let mut findings = Vec::new();
    let platforms = stream::iter(wiring.made.iter().filter_map(|made| {
        let Part::Restarter(service) = &made.part else { return None };
        let managed = wiring.managed.iter().find(|managed| managed.id == *service)?;
        let restarter = Arc::clone(managed.restarter.as_ref()?);
        Some(platform(clock, made, restarter))
    }));
    findings.extend(platforms.buffered(AT_ONCE).collect::<Vec<_>>().await.into_iter().flatten());
    let proxied = proxied();
    // A receiver behind a proxy need not be reachable from here.
    let looked = wiring.made.iter().filter(|made| made.part != Part::Receiver || !proxied);
    let endpoints = looked.flat_map(|made| {
        made.facts.endpoints.iter().map(|endpoint| reached(clock, &made.section, endpoint))
    });
    let reached = stream::iter(endpoints).buffered(AT_ONCE).collect::<Vec<_>>().await;
    findings.extend(reached.into_iter().flatten());
    findings.extend(wiring.made.iter().filter_map(runnable));
    let mut report = Report::default();
    findings.into_iter().for_each(|problem| report.push(problem));
    state_dir(config, &mut report);
    report
}

/// What the platform says of what is to be restarted.
async fn platform(
    clock: &SharedClock,
    made: &Described,
    restarter: Arc<dyn ServiceRestarter>,
) -> Option<Problem> {
    let section = &made.section;
    let deadline = clock.monotonic() + PATIENCE;
    let running = match clock.until(deadline, restarter.observe()).await {
        None => return Some(section.problem("via", "its platform does not answer within 5s")),
        Some(Err(error)) => return Some(section.problem("via", &error.to_string())),
        Some(Ok(running)) => running,
    };
    if running.state == RunState::Missing {
        let message = "its platform does not know it; check the name, or create it first";
        return Some(section.problem("via", message));
    }
    running.native_restart.then(|| {
        let policy = running.native_policy.as_deref().unwrap_or("its own policy");
        warning(section, "via", &double_supervision(&made.facts, policy))
    })
}

/// Two that restart the same thing: who goes first, and which line to change.
fn double_supervision(facts: &Facts, policy: &str) -> String {
    let change = facts
        .advice
        .as_deref()
        .unwrap_or("To leave restarts to JARVIS alone, turn its own restarts off");
    format!(
        "supervised twice: its platform restarts it by itself ({policy}), which no budget here counts. JARVIS waits native_grace for that before it acts. {change}; to leave exits to the platform, keep both"
    )
}

/// Does this endpoint accept a connection?
async fn reached(
    clock: &SharedClock,
    section: &Section,
    endpoint: &Named<Endpoint>,
) -> Option<Problem> {
    let Endpoint::Tcp(host, port) = &endpoint.what else { return None };
    let deadline = clock.monotonic() + PATIENCE;
    let why = match clock.until(deadline, open(&endpoint.what)).await {
        Some(Ok(_)) => return None,
        Some(Err(error)) => error.to_string(),
        None => "no answer within 5s".to_owned(),
    };
    Some(section.problem(&endpoint.key, &format!("{host} port {port} can't be reached: {why}")))
}

/// As the HTTP client of the alerts reads it.
fn proxied() -> bool {
    let names =
        ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    names.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Is there the program that is to be run, and may we run it?
fn runnable(made: &Described) -> Option<Problem> {
    let Named { key, what: program } = made.facts.program.as_ref()?;
    let found = if program.contains('/') {
        // A relative path is the process's business: it may run in another folder.
        if !Path::new(program).is_absolute() {
            return None;
        }
        may(Path::new(program), Access::EXEC_OK)
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| may(&folder.join(program), Access::EXEC_OK))
    };
    let message = format!("there is no program {program:?} that we may run");
    (!found).then(|| made.section.problem(key, &message))
}

fn may(path: &Path, access: Access) -> bool {
    rustix::fs::access(path, access).is_ok()
}

/// Can everything that is remembered be written, by us and by nobody else?
fn state_dir(config: &Config, report: &mut Report) {
    use std::os::unix::fs::MetadataExt as _;
    const OTHERS_MAY_WRITE: u32 = 0o022;
    let folder = &config.jarvis.state_dir;
    let shown = folder.display();
    let root = config.root();
    let mut error = |message: String| {
        let problem = root.problem("jarvis", &message);
        report.push(Problem { key: "jarvis.state_dir".to_owned(), ..problem });
    };
    let socket = socket_path(folder);
    if socket.as_os_str().len() > LONGEST_SOCKET {
        error(format!(
            "{} is longer than {LONGEST_SOCKET} bytes, which no socket can be called; choose a shorter state_dir",
            socket.display()
        ));
    }
    match std::fs::metadata(folder) {
        Ok(metadata) if !metadata.is_dir() => error(format!("{shown} is not a folder")),
        Ok(_) if !may(folder, Access::WRITE_OK | Access::EXEC_OK) => {
            error(format!("{shown} can't be written by this user; run it as its owner"));
        }
        Ok(metadata) if metadata.mode() & OTHERS_MAY_WRITE != 0 => {
            let message = format!(
                "others than its owner may write {shown}, and so stop JARVIS or change what it remembers: `chmod go-w {shown}`"
            );
            let problem = root.problem("jarvis", &message);
            let key = "jarvis.state_dir".to_owned();
            report.push(Problem { weight: Weight::Warning, key, ..problem });
        }
        Ok(_) => {}
        Err(_) => {
            let parent = nearest_folder(folder);
            if !may(&parent, Access::WRITE_OK | Access::EXEC_OK) {
                error(format!("{shown} is not there and can't be made in {}", parent.display()));
            }
        }
    }
}

/// The nearest folder above that exists.
fn nearest_folder(folder: &Path) -> PathBuf {
    let above = folder.ancestors().skip(1).find(|folder| folder.is_dir());
    above.map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

fn warning(section: &Section, key: &str, message: &str) -> Problem {
    Problem { weight: Weight::Warning, ..section.problem(key, message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    async fn findings(text: &str) -> Vec<String> {
        let clock: SharedClock = Arc::new(base::clock::SystemClock::new());
        let config = Config::from_toml(text).unwrap();
        let (wiring, report) = crate::registry::Registry::with_defaults().wire(&config, &clock);
        let wiring = wiring.unwrap_or_else(|| panic!("{report}"));
        let report = examine(&config, &wiring, &clock).await;
        report.problems.iter().map(ToString::to_string).collect()
    }

    #[cfg(feature = "http")]
    #[tokio::test]
    async fn what_is_not_there_is_told_with_its_line_and_nothing_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let there = TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let head = format!("[jarvis]\nstate_dir = {:?}\n", folder.path().join("state"));
        let address = there.local_addr().unwrap();
        let text = format!(
            "{head}[service.a]\n[[service.a.check]]\ntype = \"tcp\"\naddress = \"{address}\"\n\
             [[service.a.check]]\ntype = \"http\"\nurl = \"http://{gone}/health\"\n\
             [[service.a.check]]\ntype = \"command\"\ncommand = [\"no-such-program-here\"]\n\
             [service.a.restart]\nvia = \"command\"\ncommand = [\"true\"]\n\
             [alert.ops]\ntype = \"webhook\"\nurl = \"http://{address}/hook\"\n"
        );
        let found = findings(&text).await;
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].starts_with("inline:9: service.a.check[1].url: "), "{found:#?}");
        assert!(found[0].contains("can't be reached") && !found[0].contains("health"), "{found:?}");
        assert!(found[1].contains("no-such-program-here"), "{found:#?}");
        there.set_nonblocking(true).unwrap();
        while let Ok((mut stream, _)) = there.accept() {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut stream, &mut bytes).unwrap();
            assert!(bytes.is_empty(), "it looks and says nothing");
        }
        assert!(!folder.path().join("state").exists(), "it writes nothing");
    }

    #[tokio::test]
    async fn a_state_directory_that_can_not_be_used_is_told() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let with = |path: &Path| format!("[jarvis]\nstate_dir = {path:?}\n");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let found = findings(&with(&file)).await;
        assert!(found[0].contains("is not a folder"), "{found:?}");
        let long = folder.path().join("x".repeat(120));
        let found = findings(&with(&long)).await;
        assert!(found[0].contains("longer than 107 bytes"), "{found:?}");
        let open = folder.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        let found = findings(&with(&open)).await;
        assert!(found[0].contains("warning") && found[0].contains("chmod go-w"), "{found:?}");
    }
}

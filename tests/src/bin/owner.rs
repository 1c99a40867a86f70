//! Owns one process, as `jarvis up` does, so that a test can kill the owner.
//!
//! `owner own STATE_DIR SERVICE INTENT PROGRAM [ARGUMENT…]` starts the service, prints
//! `ready` first and `owns INSTANCE` when it runs, and waits to be killed.
//! `owner starved STATE_DIR` does the same, and a command probe, when no descriptor is left, and
//! prints the kinds of both errors.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's stand-in talks on its standard output, and stops when it can't"
)]

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::{Clock, SystemClock};
use jarvis_core::health::command::{CommandConfig, CommandProbe};
use jarvis_core::health::{HealthProbe, ProbeContext};
use jarvis_core::restart::process::{ProcessConfig, ProcessRestarter};
use jarvis_core::restart::{ActionRequest, ServiceRestarter};
use jarvis_core::vocabulary::{FencingToken, IntentId, ServiceId};

fn request(intent: &str) -> ActionRequest {
    let deadline = SystemClock::new().monotonic() + Duration::from_secs(60);
    ActionRequest::new(IntentId::new(intent).expect("an intent"), FencingToken::new(1), deadline)
}

fn restarter(state_dir: &str, service: &str, argv: &[String]) -> ProcessRestarter {
    let service = ServiceId::new(service).expect("a service name");
    let config = ProcessConfig::new(argv.to_vec());
    let clock = Arc::new(SystemClock::new());
    ProcessRestarter::new(config, &service, Path::new(state_dir), clock).expect("a restarter")
}

async fn own(state_dir: &str, service: &str, intent: &str, argv: &[String]) {
    let restarter = restarter(state_dir, service, argv);
    println!("ready");
    let receipt = restarter.restart(request(intent)).await.expect("it starts");
    println!("owns {}", receipt.after.expect("a life"));
    std::future::pending::<()>().await;
}

async fn starved(state_dir: &str) {
    let argv = ["/bin/sleep".to_owned(), "600".to_owned()];
    let restarter = restarter(state_dir, "starved", &argv);
    let probe = CommandProbe::new(CommandConfig::new(argv.to_vec())).expect("a probe");
    let mut held = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        held.push(file);
    }
    let context = ProbeContext::new(Arc::new(SystemClock::new()), Duration::from_secs(60));
    let probed = probe.probe(context).await.expect_err("no descriptor is left");
    let restarted = restarter.restart(request("starved")).await.expect_err("no descriptor is left");
    drop(held);
    let state = restarter.observe().await.expect("there are descriptors again").state;
    println!("{:?} {:?} {state:?}", probed.kind(), restarted.kind());
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [what, state_dir, service, intent, argv @ ..] if what == "own" => {
            own(state_dir, service, intent, argv).await;
        }
        [what, state_dir] if what == "starved" => starved(state_dir).await,
        _ => panic!("owner own STATE_DIR SERVICE INTENT PROGRAM… | owner starved STATE_DIR"),
    }
}

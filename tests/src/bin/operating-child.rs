//! Supervises one owned service with short waits, so that a test can kill or stop who supervises.
//!
//! `operating-child STATE_DIR SERVICE BACKOFF_MS LEASE_MS PROGRAM [ARGUMENT…]` prints each event as a line
//! of JSON, and ends in order when its standard input does.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test's stand-in stops when it can't set its stage"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::SystemClock;
use jarvis_core::operator::ManagedService;
use jarvis_core::restart::ServiceRestarter;
use jarvis_core::restart::process::{ProcessConfig, ProcessRestarter};
use jarvis_tests::operating::{Runs, Stage, id, quick};

async fn supervise(
    state_dir: &str,
    service: &str,
    backoff: Duration,
    lease: Duration,
    argv: &[String],
) {
    let (folder, id) = (Path::new(state_dir), id(service));
    let mut config = ProcessConfig::new(argv.to_vec());
    config.stop_timeout = Duration::from_millis(500);
    let clock = Arc::new(SystemClock::new());
    let restarter: Arc<dyn ServiceRestarter> =
        Arc::new(ProcessRestarter::new(config, &id, folder, clock).expect("a restarter"));
    let mut policy = quick();
    policy.max_restarts = 5;
    policy.backoff.initial = backoff;
    policy.stabilise = Duration::from_secs(3);
    policy.restart_when_flapping = true;
    let mut stage = Stage::new(folder, |settings| {
        settings.lease_ttl = lease;
        settings.canary_every = Some(Duration::from_millis(500));
    });
    stage.events.aloud();
    let managed = ManagedService::new(id).with_restarter(Arc::clone(&restarter), policy);
    stage.add(managed, Arc::new(Runs(restarter)));
    stage.start();
    let end =
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    end.await.expect("no panic").expect("a standard input");
    stage.stop().await;
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [state_dir, service, backoff, lease, argv @ ..] if !argv.is_empty() => {
            let [backoff, lease] = [backoff, lease]
                .map(|text| Duration::from_millis(text.parse().expect("milliseconds")));
            supervise(state_dir, service, backoff, lease, argv).await;
        }
        _ => panic!("operating-child STATE_DIR SERVICE BACKOFF_MS LEASE_MS PROGRAM…"),
    }
}

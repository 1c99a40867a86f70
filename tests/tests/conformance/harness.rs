//! Turns (trait, backend, cases) into trials, and tells what ran.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::registry::Registry;
use jarvis_core::sync::Mutex;
use jarvis_core::testkit::Case;
use jarvis_core::{Error, ErrorKind, Result};
use libtest_mimic::{Arguments, Failed, Trial};

/// No case may take longer, so that a hang is a failure with a name.
const CASE_DEADLINE: Duration = Duration::from_secs(120);

/// The address of a real server that `tests/run` started.
pub(crate) fn server(variable: &str) -> Result<String> {
    std::env::var(variable).map_err(|_| {
        Error::new(
            ErrorKind::Unavailable,
            format!("{variable} is not set; `tests/run` starts the servers and sets it"),
        )
    })
}

type Passed = Arc<Mutex<BTreeMap<String, usize>>>;

pub(crate) struct Suite {
    trials: Vec<Trial>,
    passed: Passed,
}

impl Suite {
    pub(crate) fn new() -> Self {
        Self { trials: Vec::new(), passed: Passed::default() }
    }

    /// Adds the cases of a trait for one backend. `make` makes a fresh environment for each.
    pub(crate) fn backend<E, B, M, F>(
        &mut self,
        of: &str,
        backend: &str,
        cases: &'static [Case<E>],
        erase: fn(&B) -> &E,
        make: M,
    ) where
        E: ?Sized + Sync + 'static,
        B: Debug + Send + Sync + 'static,
        M: Fn() -> F + Clone + Send + 'static,
        F: Future<Output = Result<B>> + Send + 'static,
    {
        let group = format!("{of}::{backend}");
        self.passed.lock().insert(group.clone(), 0);
        for case in cases {
            let (make, group, passed) = (make.clone(), group.clone(), Arc::clone(&self.passed));
            self.trials.push(Trial::test(format!("{group}::{}", case.name()), move || {
                one(async move {
                    let env = make().await?;
                    case.run(erase(&env)).await
                })?;
                let mut passed = passed.lock();
                *passed.entry(group).or_default() += 1;
                Ok(())
            }));
        }
    }

    /// Adds the trial that each kind a configuration may name has been added: under its name, or
    /// as `name-variant`.
    pub(crate) fn complete(&mut self, registry: &Registry) {
        // What the lease calls a file is one of SQLite.
        let stored =
            |kind: &str| if kind == "file" { "sqlite".to_owned() } else { kind.to_owned() };
        let mut wanted: Vec<(&str, String)> = Vec::new();
        wanted.extend(registry.probes().map(|kind| ("health", kind.to_owned())));
        wanted.extend(registry.restarters().map(|kind| ("restart", kind.to_owned())));
        wanted.extend(registry.sinks().map(|kind| ("alert", kind.to_owned())));
        wanted.extend(registry.leases().map(|kind| ("lease", stored(kind))));
        wanted.extend(registry.leases().map(|kind| ("ledger", stored(kind))));
        // TLS and a socket are other ways to the same server.
        let plain = |scheme: &str| match scheme {
            "unix" => "redis".to_owned(),
            scheme => scheme.replace("rediss", "redis").replace('+', "-"),
        };
        wanted.extend(registry.sessions().map(|scheme| ("session", plain(scheme))));
        wanted.extend(registry.caches().map(|scheme| ("cache", plain(scheme))));
        wanted.extend(registry.buses().map(|scheme| ("bus", plain(scheme))));
        let added = self.passed.lock();
        let added: Vec<String> = added.keys().cloned().collect();
        let missing: Vec<String> = wanted
            .iter()
            .map(|(of, kind)| format!("{of}::{kind}"))
            .filter(|wanted| {
                let variant = format!("{wanted}-");
                !added.iter().any(|group| group == wanted || group.starts_with(&variant))
            })
            .collect();
        let count = wanted.len();
        self.trials.push(Trial::test("registry::every_backend_has_an_entry", move || {
            if count < 15 || !missing.is_empty() {
                let missing = missing.join(", ");
                return Err(Failed::from(format!(
                    "of {count} kinds these have no entry in tests/tests/conformance: {missing}"
                )));
            }
            Ok(())
        }));
    }

    /// Runs what the arguments ask for. Without a filter, a backend of which nothing passed fails
    /// the run, and so does an empty list.
    #[expect(
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "a test runner talks to a person"
    )]
    pub(crate) fn run(self) -> ExitCode {
        let arguments = Arguments::from_args();
        let whole = arguments.filter.is_none()
            && arguments.skip.is_empty()
            && !arguments.list
            && !arguments.ignored;
        let conclusion = libtest_mimic::run(&arguments, self.trials);
        if arguments.list {
            return ExitCode::SUCCESS;
        }
        let passed = self.passed.lock();
        for (group, count) in passed.iter().filter(|(_, count)| whole || **count > 0) {
            println!("{group}: {count} cases passed");
        }
        let empty = passed.is_empty() || passed.values().any(|count| *count == 0);
        if whole && empty {
            eprintln!("conformance: a backend ran nothing, or all of its cases failed");
            return ExitCode::FAILURE;
        }
        if conclusion.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

fn one(case: impl Future<Output = Result<()>> + Send) -> Result<(), Failed> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let clock = SystemClock::new();
    let outcome = runtime.block_on(async {
        clock.until(clock.monotonic() + CASE_DEADLINE, case).await.unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Timeout, format!("no end after {CASE_DEADLINE:?}")))
        })
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome.map_err(|error| Failed::from(format!("{error:?}")))
}

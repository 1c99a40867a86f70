//! The cases of `tests/fixtures/parity`, played against the library: one trial for each case and
//! backend, named `file::backend::case`. Python and Node play the same ones.

#![expect(clippy::expect_used, clippy::panic, reason = "a runner without its files has to stop")]

#[path = "parity/calls.rs"]
mod calls;
#[path = "parity/expect.rs"]
mod expect;
#[path = "parity/kinds.rs"]
mod kinds;
#[path = "parity/operator.rs"]
mod operator;
#[path = "parity/play.rs"]
mod play;
#[path = "parity/values.rs"]
mod values;
#[path = "parity/web.rs"]
mod web;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use serde_json::Value;

/// The backends that a file's cases may be played on.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Backend {
    Memory,
    Sqlite,
    Redis,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    #[expect(dead_code, reason = "for readers")]
    about: String,
    #[serde(default)]
    on: Vec<Backend>,
    #[serde(default)]
    config: Value,
    cases: Vec<Case>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    config: Option<Value>,
    /// Does the handle supervise while it is played?
    #[serde(default)]
    run: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Step {
    call: Option<String>,
    open: Option<Value>,
    set: Option<String>,
    next: Option<String>,
    collect: Option<String>,
    /// How often the call is made; once unless it says so.
    times: Option<usize>,
    args: Vec<Value>,
    options: serde_json::Map<String, Value>,
    data: Option<Value>,
    #[serde(rename = "as")]
    name: Option<String>,
    /// `Some(Value::Null)` for an expected `null`.
    #[serde(deserialize_with = "given")]
    answer: Option<Value>,
    error: Option<Value>,
}

fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/parity")
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("tests/fixtures/parity") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            add(&path, &mut trials);
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn add(path: &Path, trials: &mut Vec<Trial>) {
    let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path).expect("a readable file");
    if stem == "errors" {
        trials.push(Trial::test("errors::every_kind", move || kinds::compare(&text)));
        return;
    }
    let file: CaseFile =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let backends: Vec<Option<Backend>> =
        if file.on.is_empty() { vec![None] } else { file.on.iter().copied().map(Some).collect() };
    for backend in backends {
        for case in &file.cases {
            let config = case.config.clone().unwrap_or_else(|| file.config.clone());
            let on = backend.map_or_else(String::new, |it| format!("::{it:?}").to_lowercase());
            let case = case.clone();
            trials.push(Trial::test(format!("{stem}{on}::{}", case.name), move || {
                played(&case, &config, backend)
            }));
        }
    }
}

fn played(case: &Case, config: &Value, backend: Option<Backend>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(play::case(case, config, backend)).map_err(Failed::from)
}

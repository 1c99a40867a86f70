//! What the end-to-end tests share.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't set its stage has to stop"
)]

pub mod child;
pub mod cli;
pub mod docker;
pub mod engines;
pub mod operating;
pub mod proxy;
pub mod receiver;
pub mod redis_sets;
pub mod targets;

/// Records that a test can't run here, for the list that `tests/run` prints at the end.
///
/// # Panics
/// When the list can't be written.
pub fn skip(reason: &str) {
    use std::io::Write as _;
    let Some(path) = std::env::var_os("JARVIS_TEST_SKIPPED") else { return };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    let mut file = file.expect("the list of what was skipped");
    writeln!(file, "{reason}").expect("the list of what was skipped");
}

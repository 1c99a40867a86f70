//! Faults of processes and of the programs that restart them: 19 to 22, 24 to 26 and 32.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that can't set its stage has to stop"
)]

#[path = "faults_process/adoption.rs"]
mod adoption;
#[path = "faults_process/commands.rs"]
mod commands;
#[path = "faults_process/lives.rs"]
mod lives;
#[path = "faults_process/stage.rs"]
mod stage;

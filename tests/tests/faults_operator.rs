//! Faults of the operator itself, on the real loop, with real time and a real `operator.db`.

#![expect(clippy::unwrap_used, reason = "a test that can't set its stage has to stop")]

#[path = "faults_operator/actions.rs"]
mod actions;
#[path = "faults_operator/late.rs"]
mod late;
#[path = "faults_operator/many.rs"]
mod many;
#[path = "faults_operator/stage.rs"]
mod stage;
#[path = "faults_operator/state.rs"]
mod state;

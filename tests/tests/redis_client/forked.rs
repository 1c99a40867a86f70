//! A process that forks after it has used Redis and SQLite, as pre-forking servers do.

use std::process::Command;

use jarvis_tests::engines::RedisServer;

#[tokio::test]
async fn after_a_fork_the_child_is_told_to_open_anew_and_the_parent_goes_on() {
    let server = RedisServer::with_port(&[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("redis://127.0.0.1:{}", server.port());
    let output = Command::new(env!("CARGO_BIN_EXE_forking-child"))
        .args([url.as_str(), &folder.path().join("jarvis.db").display().to_string(), "forked"])
        .output()
        .expect("the child's program is built");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "the child works\nthe parent works\n", "{errors}");
    assert!(output.status.success(), "{:?}", output.status);
}

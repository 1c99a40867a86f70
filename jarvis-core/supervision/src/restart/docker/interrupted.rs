//! What a rollback that broke off left behind, and the calls by which it and a rollback replace a
//! container.

use bollard::models::{ContainerInspectResponse, ContainerUpdateBody, HostConfig, RestartPolicy};
use bollard::query_parameters as query;

use super::engine::Engine;
use super::life::Life;
use super::target::{KEPT, NEW, Target};
use base::clock::Monotonic;
use base::{ErrorKind, Result};

pub(super) async fn rename(
    engine: &Engine,
    container: &str,
    name: &str,
    deadline: Monotonic,
) -> Result<()> {
    let options = query::RenameContainerOptionsBuilder::default().name(name).build();
    let rename = engine.docker.rename_container(container, options);
    engine.act("docker.rename", deadline, rename).await
}

pub(super) async fn start(engine: &Engine, container: &str, deadline: Monotonic) -> Result<()> {
    let options = None::<query::StartContainerOptions>;
    engine.act("docker.start", deadline, engine.docker.start_container(container, options)).await
}

/// Also when it runs; its volumes stay. What is not there is removed already.
pub(super) async fn remove(engine: &Engine, container: &str, deadline: Monotonic) -> Result<()> {
    let options = query::RemoveContainerOptionsBuilder::default().force(true).v(false).build();
    let remove = engine.docker.remove_container(container, Some(options));
    match engine.act("docker.remove", deadline, remove).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

pub(super) async fn set_policy(
    engine: &Engine,
    container: &str,
    policy: RestartPolicy,
    deadline: Monotonic,
) -> Result<()> {
    let body =
        ContainerUpdateBody { restart_policy: Some(policy), ..ContainerUpdateBody::default() };
    let update = engine.docker.update_container(container, body);
    engine.act("docker.update", deadline, update).await.map(drop)
}

pub(super) fn policy_of(inspect: &ContainerInspectResponse) -> Option<RestartPolicy> {
    inspect
        .host_config
        .as_ref()
        .and_then(|HostConfig { restart_policy, .. }| restart_policy.clone())
}

/// A container that a rollback renamed, and the name that is free since: JARVIS ended between
/// the two renames.
pub(super) struct Interrupted {
    pub(super) kept: ContainerInspectResponse,
    name: String,
}

/// What a rollback of this target left half done, where the target itself is not there.
pub(super) async fn interrupted(engine: &Engine, target: &Target) -> Result<Option<Interrupted>> {
    let name = match target {
        Target::Name(name) => Some(name.clone()),
        Target::Compose(compose) => {
            let names = engine.list(&compose.filters(), true).await?.into_iter();
            let mut names = names.flat_map(|found| found.names.unwrap_or_default());
            names.find_map(|name| Some(name.trim_start_matches('/').strip_suffix(KEPT)?.to_owned()))
        }
    };
    let Some(name) = name else { return Ok(None) };
    let kept = engine.find(&format!("{name}{KEPT}")).await?;
    Ok(kept.map(|kept| Interrupted { kept, name }))
}

/// Was a rollback of this container begun and never ended? Then we stopped it, in another life.
pub(super) async fn was_begun(engine: &Engine, life: &Life) -> bool {
    matches!(engine.find(&format!("{}{NEW}", life.name)).await, Ok(Some(_)))
}

/// Gives the kept container its name back.
pub(super) async fn restore(
    engine: &Engine,
    Interrupted { kept, name }: Interrupted,
    deadline: Monotonic,
) -> Result<()> {
    let kept = Life::of(&kept)?.id;
    if let Some(new) = engine.find(&format!("{name}{NEW}")).await? {
        if let Some(policy) = policy_of(&new) {
            set_policy(engine, &kept, policy, deadline).await?;
        }
        remove(engine, &format!("{name}{NEW}"), deadline).await?;
    }
    rename(engine, &kept, &name, deadline).await
}

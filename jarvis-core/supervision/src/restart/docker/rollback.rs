//! Back to an earlier image: the container is made again from its own description.
//!
//! The new container is complete, under another name and not started, before the old one is
//! touched, so that whatever can be refused is refused while the service still runs as it did.
//! The old one is kept, renamed, until the rollback is settled.

use bollard::models::{
    ContainerInspectResponse, NetworkConnectRequest, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters as query;

use super::VERSION;
use super::container::Inner;
use super::engine::{Engine, MARGIN};
use super::interrupted::{policy_of, remove, rename, set_policy, start};
use super::life::{Life, Phase};
use super::recreate::{Recipe, recipe};
use super::target::{KEPT, NEW, Target};
use crate::restart::{ActionRequest, Receipt};
use base::clock::Monotonic;
use base::subprocess::{Leftovers, Program, run};
use base::vocabulary::VersionId;
use base::{Error, ErrorKind, Result, Retry, Secret};

const SWARM_TASK: &str = "com.docker.swarm.task.id";

/// What was done so far, to be undone in reverse.
#[derive(Debug, Default)]
struct Done {
    created: Option<String>,
    stopped: bool,
    renamed_old: bool,
}

struct Step<'a> {
    inner: &'a Inner,
    engine: &'a Engine,
    old: &'a Life,
    deadline: Monotonic,
}

pub(super) async fn roll_back(
    inner: &Inner,
    request: &ActionRequest,
    to: &VersionId,
) -> Result<Receipt> {
    let old = &inner.locate().await?.ok_or_else(|| inner.target.not_found())?;
    if let Some(program) = &inner.rollback {
        return by_command(inner, program.clone(), old, request, to).await;
    }
    let (engine, deadline) = (&*inner.engine, request.deadline);
    let inspect = engine.inspect(&old.id).await?;
    let step = Step { inner, engine, old, deadline };
    step.refuse(&inspect, to).await?;
    let image = match &old.image {
        // An image that is gone has no defaults to take out.
        Some(image) => engine.docker.inspect_image(image.as_str()).await.ok(),
        None => None,
    };
    let recipe = recipe(&inspect, image.and_then(|image| image.config).as_ref(), to.as_str());
    let mut done = Done::default();
    match step.replace(recipe, &mut done).await {
        Ok(()) => {
            let after = inner.locate().await.ok().flatten().map(|life| life.instance);
            let text =
                format!("{} runs from image {to} again (it ran {})", old.name, old.image_name);
            Ok(Receipt::new(text).with_before(Some(old.instance.clone())).with_after(after))
        }
        Err(error) => Err(step.undo(error, &done).await),
    }
}

/// By somebody's own command. What it does when it fails is its own business.
async fn by_command(
    inner: &Inner,
    mut program: Program,
    old: &Life,
    request: &ActionRequest,
    to: &VersionId,
) -> Result<Receipt> {
    for arg in &mut program.argv {
        *arg = arg.replace(VERSION, to.as_str());
    }
    for (name, value) in
        [("JARVIS_CONTAINER", &*old.name), ("JARVIS_INTENT", request.intent.as_str())]
    {
        program.env.insert(name.to_owned(), Secret::new(value.to_owned()));
    }
    let _ours = inner.engine.acting(&old.id);
    inner.engine.ends(&old.instance);
    let finished = run(&program, &*inner.engine.clock, request.deadline, Leftovers::Keep).await?;
    let last = finished.last_line().map(|line| format!(": {}", program.mask(&line)));
    let last = last.unwrap_or_default();
    if !finished.success() {
        let kind =
            if finished.status.is_none() { ErrorKind::Timeout } else { ErrorKind::Unavailable };
        let text = format!("the rollback command failed: {}{last}", finished.ending());
        return Err(Error::new(kind, text).with_retry(Retry::Indeterminate));
    }
    let after = inner.locate().await.ok().flatten().map(|life| life.instance);
    Ok(Receipt::new(format!("{} ended well{last}", program.name()))
        .with_before(Some(old.instance.clone()))
        .with_after(after))
}

impl Step<'_> {
    /// What can't be rolled back, before anything is done.
    async fn refuse(&self, inspect: &ContainerInspectResponse, to: &VersionId) -> Result<()> {
        let config = inspect.config.as_ref();
        let labels = config.and_then(|config| config.labels.as_ref());
        if self.old.auto_remove {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the container was started with --rm, so that it can't be kept for the way back; use rollback.command",
            ));
        }
        if labels.is_some_and(|labels| labels.contains_key(SWARM_TASK)) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the container is a task of Docker Swarm, which replaces it by itself; use rollback.command with docker service rollback",
            ));
        }
        let image = self.engine.docker.inspect_image(to.as_str());
        self.engine.read("docker.roll_back", image).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(
                ErrorKind::NotFound,
                format!("the image {to} is not on the Docker host any more; pull it, or use rollback.command"),
            ),
            _ => error,
        })?;
        if self.engine.find(&format!("{}{KEPT}", self.old.name)).await?.is_some() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "{}{KEPT} is kept from a rollback that is not settled; settle it first, or remove that container",
                    self.old.name
                ),
            ));
        }
        // Left by a rollback that broke off before it began to replace.
        self.remove(&format!("{}{NEW}", self.old.name)).await
    }

    async fn replace(&self, recipe: Recipe, done: &mut Done) -> Result<()> {
        let (engine, docker) = (self.engine, &self.engine.docker);
        let options = query::CreateContainerOptionsBuilder::default()
            .name(&format!("{}{NEW}", self.old.name))
            .build();
        let create = docker.create_container(Some(options), recipe.body);
        let new = engine.act("docker.create", self.deadline, create).await?.id;
        done.created = Some(new.clone());
        for (network, endpoint) in recipe.networks {
            let request =
                NetworkConnectRequest { container: new.clone(), endpoint_config: Some(endpoint) };
            let connect = docker.connect_network(&network, request);
            engine.act("docker.connect_network", self.deadline, connect).await?;
        }
        let _old_is_ours = engine.acting(&self.old.id);
        let _new_is_ours = engine.acting(&new);
        if !matches!(self.old.phase, Phase::Created | Phase::Exited(_)) {
            // Also when the answer is lost: then it may be stopped.
            done.stopped = true;
            self.inner.stop_life(self.old, self.deadline).await?;
        }
        done.renamed_old = true;
        self.rename(&self.old.id, &format!("{}{KEPT}", self.old.name)).await?;
        self.rename(&new, &self.old.name).await?;
        self.start(&new).await?;
        // `always` starts also what was stopped, when the engine is restarted.
        let _ = set_policy(engine, &self.old.id, no_policy(), self.deadline).await;
        Ok(())
    }

    /// What ran before runs again. The cause stays the error; what could not be undone is added.
    async fn undo(&self, cause: Error, done: &Done) -> Error {
        // A cause such as a passed deadline leaves no time: undoing has its own.
        let deadline = self.engine.clock.monotonic() + MARGIN;
        let step = Step { deadline, ..*self };
        let mut failed = Vec::new();
        let _old_is_ours = step.engine.acting(&step.old.id);
        // A create whose answer was lost is found by its name.
        let new = done.created.clone().unwrap_or_else(|| format!("{}{NEW}", step.old.name));
        if let Err(error) = step.remove(&new).await {
            failed.push(error);
        }
        if done.renamed_old
            && let Err(error) = step.name_again(&step.old.id, &step.old.name).await
        {
            failed.push(error);
        }
        if done.stopped
            && let Err(error) = step.start(&step.old.id).await
        {
            failed.push(error);
        }
        if failed.is_empty() {
            let text = format!(
                "the rollback failed and {} is as before: {}",
                step.old.name,
                cause.message()
            );
            return Error::new(cause.kind(), text).with_retry(Retry::Never).with_source(cause);
        }
        let failed: Vec<String> = failed.iter().map(|error| error.message().to_owned()).collect();
        let text = format!(
            "the rollback of {} failed and could not be undone: {} (undoing: {}); look at docker ps -a",
            step.old.name,
            cause.message(),
            failed.join("; ")
        );
        Error::new(cause.kind(), text).with_retry(Retry::Indeterminate).with_source(cause)
    }

    async fn rename(&self, container: &str, name: &str) -> Result<()> {
        rename(self.engine, container, name, self.deadline).await
    }

    async fn name_again(&self, container: &str, name: &str) -> Result<()> {
        let now = self.engine.inspect(container).await?.name.unwrap_or_default();
        if now.trim_start_matches('/') == name {
            Ok(())
        } else {
            self.rename(container, name).await
        }
    }

    async fn start(&self, container: &str) -> Result<()> {
        start(self.engine, container, self.deadline).await
    }

    async fn remove(&self, container: &str) -> Result<()> {
        remove(self.engine, container, self.deadline).await
    }
}

fn no_policy() -> RestartPolicy {
    RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }
}

/// `keep`: the rollback holds, what was kept is removed. Otherwise what was kept runs again.
pub(super) async fn settle(inner: &Inner, keep: bool) -> Result<()> {
    let engine = &*inner.engine;
    let deadline = engine.clock.monotonic() + MARGIN;
    let current = inner.target.locate(engine).await?;
    let name = match (&current, &inner.target) {
        (Some(current), _) => Life::of(current)?.name,
        (None, Target::Name(name)) => name.clone(),
        (None, Target::Compose(_)) => return Ok(()),
    };
    let Some(kept) = engine.find(&format!("{name}{KEPT}")).await? else { return Ok(()) };
    let kept = Life::of(&kept)?;
    if keep {
        // Without the new one, the old one is all there is.
        let new = current.ok_or_else(|| inner.target.not_found())?;
        let _ours = engine.acting(&Life::of(&new)?.id);
        return remove(engine, &kept.id, deadline).await;
    }
    let _old_is_ours = engine.acting(&kept.id);
    if let Some(current) = current {
        let life = Life::of(&current)?;
        let _new_is_ours = engine.acting(&life.id);
        let policy = policy_of(&current);
        let deadline = deadline + inner.stop_timeout(&life).1;
        inner.stop_life(&life, deadline).await?;
        if let Some(policy) = policy {
            set_policy(engine, &kept.id, policy, deadline).await?;
        }
        remove(engine, &life.id, deadline).await?;
    }
    let deadline = engine.clock.monotonic() + MARGIN;
    rename(engine, &kept.id, &name, deadline).await?;
    start(engine, &kept.id, deadline).await
}

//! Which container: by name, or by the labels that docker compose writes.

use std::collections::HashMap;

use bollard::models::ContainerInspectResponse;
use serde::{Deserialize, Serialize};

use super::engine::Engine;
use base::{Error, ErrorKind, Result};

/// What a rolled-back container is renamed to, and its replacement is called while it is made.
pub(super) const KEPT: &str = ".jarvis-kept";
pub(super) const NEW: &str = ".jarvis-new";

pub(super) const PROJECT: &str = "com.docker.compose.project";
pub(super) const SERVICE: &str = "com.docker.compose.service";
const NUMBER: &str = "com.docker.compose.container-number";
const ONE_OFF: &str = "com.docker.compose.oneoff";

/// A service of docker compose, found by its labels, so that a container that compose made anew
/// is found again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ComposeTarget {
    /// The project, usually the folder's name.
    pub project: String,
    /// The service in the compose file.
    pub service: String,
    /// Which of its containers, from 1, where the service is scaled. Without it there may be one
    /// only: several are refused, because one restarter is one life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
}

impl ComposeTarget {
    /// The one container of a service.
    #[must_use]
    pub fn new(project: impl Into<String>, service: impl Into<String>) -> Self {
        Self { project: project.into(), service: service.into(), number: None }
    }

    fn labels(&self) -> Vec<(&'static str, String)> {
        let mut labels = vec![(PROJECT, self.project.clone()), (SERVICE, self.service.clone())];
        labels.extend(self.number.map(|number| (NUMBER, number.to_string())));
        labels
    }

    /// Its labels, as the engine filters by them.
    pub(super) fn filters(&self) -> Vec<String> {
        self.labels().iter().map(|(key, value)| format!("{key}={value}")).collect()
    }
}

#[derive(Debug, Clone)]
pub(super) enum Target {
    Name(String),
    Compose(ComposeTarget),
}

impl Target {
    pub(super) fn of(container: Option<&str>, compose: Option<ComposeTarget>) -> Result<Self> {
        match (container, compose) {
            (Some(name), None) if is_name(name) => Ok(Self::Name(name.to_owned())),
            (Some(name), None) => Err(Error::new(
                ErrorKind::ConfigInvalid,
                format!(
                    "{name:?} is not a valid container name: use letters, digits, '_', '.' and '-', two at least, as docker ps --format '{{{{.Names}}}}' shows it"
                ),
            )),
            (None, Some(compose)) if !compose.project.is_empty() && !compose.service.is_empty() => {
                Ok(Self::Compose(compose))
            }
            (None, Some(_)) => Err(Error::new(
                ErrorKind::ConfigInvalid,
                "compose needs a project and a service; docker compose ls shows the projects",
            )),
            (Some(_), Some(_)) | (None, None) => Err(Error::new(
                ErrorKind::ConfigInvalid,
                "name the container with either container = \"NAME\" or compose = { project = \"…\", service = \"…\" }",
            )),
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Name(name) => format!("container {name:?}"),
            Self::Compose(compose) => {
                format!("compose service {:?} of project {:?}", compose.service, compose.project)
            }
        }
    }

    pub(super) fn not_found(&self) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!("Docker has no {}; docker ps -a lists its containers", self.describe()),
        )
    }

    /// Is an event of a container of this name and these labels about us?
    pub(super) fn matches(&self, name: &str, labels: &HashMap<String, String>) -> bool {
        match self {
            Self::Name(ours) => ours == name,
            Self::Compose(compose) => {
                is_service(name, labels)
                    && compose.labels().iter().all(|(key, value)| labels.get(*key) == Some(value))
            }
        }
    }

    /// The container, where there is one.
    ///
    /// # Errors
    /// `Conflict` where compose runs several.
    pub(super) async fn locate(&self, engine: &Engine) -> Result<Option<ContainerInspectResponse>> {
        let compose = match self {
            Self::Name(name) => {
                let found = engine.find(name).await?;
                // The engine also takes the beginning of an id for a name.
                let same = |found: &ContainerInspectResponse| {
                    found.name.as_deref().is_some_and(|full| full.trim_start_matches('/') == name)
                };
                return Ok(found.filter(same));
            }
            Self::Compose(compose) => compose,
        };
        let mut found = Vec::new();
        for container in engine.list(&compose.filters(), true).await? {
            let name = container.names.unwrap_or_default().into_iter().next().unwrap_or_default();
            let name = name.trim_start_matches('/').to_owned();
            if is_service(&name, &container.labels.unwrap_or_default()) {
                found.push((name, container.id.unwrap_or_default()));
            }
        }
        match &found[..] {
            [] => Ok(None),
            [(_, id)] => engine.find(id).await,
            several => {
                let mut names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
                names.sort_unstable();
                Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "{} has {} containers ({}); add number = 1 (and a service for each other), or name one with container = \"…\"",
                        self.describe(),
                        names.len(),
                        names.join(", ")
                    ),
                ))
            }
        }
    }
}

/// Not a `compose run`, and not what a rollback keeps.
fn is_service(name: &str, labels: &HashMap<String, String>) -> bool {
    let one_off = labels.get(ONE_OFF).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    !one_off && !name.ends_with(KEPT) && !name.ends_with(NEW)
}

fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (2..=200).contains(&name.len())
        && name.bytes().all(good)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_two_is_needed_and_names_stay_in_the_url() {
        assert!(Target::of(Some("api_1.b-c"), None).is_ok());
        let compose = ComposeTarget::new("ai-dawg", "vocal-coach");
        assert!(Target::of(None, Some(compose.clone())).is_ok());
        for (name, compose) in [
            (None, None),
            (Some("api"), Some(compose)),
            (Some("../images"), None),
            (Some("a?b"), None),
            (Some(".."), None),
            (None, Some(ComposeTarget::new("", "x"))),
        ] {
            let error = Target::of(name, compose).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{name:?}");
        }
    }

    #[test]
    fn one_off_and_kept_containers_are_not_the_service() {
        let target = Target::Compose(ComposeTarget::new("p", "s"));
        let mut labels = HashMap::from([
            (PROJECT.to_owned(), "p".to_owned()),
            (SERVICE.to_owned(), "s".to_owned()),
        ]);
        assert!(target.matches("p-s-1", &labels));
        assert!(!target.matches("p-s-1.jarvis-kept", &labels));
        labels.insert(ONE_OFF.to_owned(), "True".to_owned());
        assert!(!target.matches("p-s-run", &labels));
        labels.remove(ONE_OFF);
        labels.insert(SERVICE.to_owned(), "other".to_owned());
        assert!(!target.matches("p-s-1", &labels));
    }
}

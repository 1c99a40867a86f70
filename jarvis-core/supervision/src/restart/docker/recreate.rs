//! From an inspected container to the request that makes the same one from another image.
//!
//! What the container has only because its image said so (its command, environment, labels,
//! health check, …) must come from the other image: the image's own defaults are taken out, the
//! way `docker run` would have left them unset.

use std::collections::HashMap;

use bollard::models::{
    ContainerConfig, ContainerCreateBody, ContainerInspectResponse, EndpointSettings, HostConfig,
    ImageConfig, MountPoint, MountType, NetworkingConfig,
};

/// A network's name, and how the container is connected to it.
type Network = (String, EndpointSettings);

/// What to create, and which further networks to connect it to before its start.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    pub(super) body: ContainerCreateBody,
    pub(super) networks: Vec<Network>,
}

pub(super) fn recipe(
    inspect: &ContainerInspectResponse,
    its_image: Option<&ImageConfig>,
    image: &str,
) -> Recipe {
    let id = inspect.id.clone().unwrap_or_default();
    let mut host = inspect.host_config.clone().unwrap_or_default();
    let mode = host.network_mode.clone().unwrap_or_default();
    let mounts = inspect.mounts.as_deref().unwrap_or_default();
    carry_volumes(&mut host, mounts);
    let mut config = inspect.config.clone().unwrap_or_default();
    if let Some(defaults) = its_image {
        without_defaults(&mut config, defaults);
    }
    // The engine's default for a host name is the id of the container, which is another one now.
    let default_name = config.hostname.as_deref().is_some_and(|name| id.starts_with(name));
    if default_name || mode == "host" {
        config.hostname = None;
    }
    if mode.starts_with("container:") {
        (config.hostname, config.exposed_ports) = (None, None);
    }
    let (first, networks) = split_networks(inspect, &mode, &id);
    Recipe { body: body(config, host, first, image), networks }
}

fn body(
    config: ContainerConfig,
    host: HostConfig,
    first: Option<Network>,
    image: &str,
) -> ContainerCreateBody {
    ContainerCreateBody {
        hostname: config.hostname,
        domainname: config.domainname,
        user: config.user,
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        exposed_ports: config.exposed_ports,
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        env: config.env,
        cmd: config.cmd,
        healthcheck: config.healthcheck,
        args_escaped: config.args_escaped,
        image: Some(image.to_owned()),
        volumes: config.volumes,
        working_dir: config.working_dir,
        entrypoint: config.entrypoint,
        network_disabled: config.network_disabled,
        on_build: None,
        labels: config.labels,
        stop_signal: config.stop_signal,
        stop_timeout: config.stop_timeout,
        shell: config.shell,
        host_config: Some(host),
        networking_config: first
            .map(|first| NetworkingConfig { endpoints_config: Some(HashMap::from([first])) }),
    }
}

/// Takes out what is as the image says.
fn without_defaults(config: &mut ContainerConfig, image: &ImageConfig) {
    fn same<T: PartialEq>(ours: &mut Option<T>, theirs: Option<&T>) {
        if ours.as_ref() == theirs {
            *ours = None;
        }
    }
    fn fewer<T: PartialEq>(ours: &mut Option<Vec<T>>, theirs: Option<&Vec<T>>) {
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            ours.retain(|item| !theirs.contains(item));
        }
    }
    // An own entry point makes the engine forget the image's command, so the two go together.
    if config.entrypoint == image.entrypoint {
        config.entrypoint = None;
        same(&mut config.cmd, image.cmd.as_ref());
    }
    same(&mut config.user, image.user.as_ref());
    same(&mut config.working_dir, image.working_dir.as_ref());
    same(&mut config.healthcheck, image.healthcheck.as_ref());
    same(&mut config.stop_signal, image.stop_signal.as_ref());
    same(&mut config.shell, image.shell.as_ref());
    fewer(&mut config.env, image.env.as_ref());
    fewer(&mut config.volumes, image.volumes.as_ref());
    fewer(&mut config.exposed_ports, image.exposed_ports.as_ref());
    if let (Some(ours), Some(theirs)) = (&mut config.labels, &image.labels) {
        ours.retain(|key, value| theirs.get(key) != Some(value));
    }
}

/// Names the anonymous volumes: made again without a name, they would be empty ones.
fn carry_volumes(host: &mut HostConfig, mounts: &[MountPoint]) {
    for mount in mounts.iter().filter(|mount| mount.typ.as_deref() == Some("volume")) {
        let (Some(name), Some(target)) = (&mount.name, &mount.destination) else { continue };
        let written = host.mounts.iter_mut().flatten();
        let mut written = written.filter(|written| written.target.as_ref() == Some(target));
        if let Some(written) = written.next() {
            if written.typ == Some(MountType::VOLUME) {
                written.source = Some(name.clone());
            }
            continue;
        }
        let bound = |bind: &String| bind.split(':').nth(1) == Some(target.as_str());
        if host.binds.iter().flatten().any(bound) {
            continue;
        }
        let access = if mount.rw == Some(false) { "ro" } else { "rw" };
        host.binds.get_or_insert_default().push(format!("{name}:{target}:{access}"));
    }
}

/// The network it is created in, and the others. An engine before API 1.44 takes one only.
fn split_networks(
    inspect: &ContainerInspectResponse,
    mode: &str,
    id: &str,
) -> (Option<Network>, Vec<Network>) {
    if mode == "host" || mode == "none" || mode.starts_with("container:") {
        return (None, Vec::new());
    }
    let mut networks: Vec<Network> = inspect
        .network_settings
        .as_ref()
        .and_then(|settings| settings.networks.clone())
        .unwrap_or_default()
        .into_iter()
        .map(|(name, endpoint)| (name, configured(&endpoint, id)))
        .collect();
    networks.sort_by(|(a, _), (b, _)| a.cmp(b));
    let network_id = |name: &str| {
        let networks = inspect.network_settings.as_ref()?.networks.as_ref()?;
        networks.get(name)?.network_id.clone()
    };
    let mode = if mode == "default" { "bridge" } else { mode };
    let at = networks
        .iter()
        .position(|(name, _)| name == mode || network_id(name).as_deref() == Some(mode));
    let first = at.map(|at| networks.remove(at));
    (first, networks)
}

/// What a person can configure of an endpoint; the rest (its address now) is the engine's.
fn configured(endpoint: &EndpointSettings, id: &str) -> EndpointSettings {
    // The engine adds the short id as an alias by itself.
    let aliases = endpoint.aliases.clone().map(|mut aliases| {
        aliases.retain(|alias| !id.starts_with(alias.as_str()));
        aliases
    });
    EndpointSettings {
        ipam_config: endpoint.ipam_config.clone(),
        links: endpoint.links.clone(),
        aliases,
        driver_opts: endpoint.driver_opts.clone(),
        gw_priority: endpoint.gw_priority.filter(|priority| *priority != 0),
        ..EndpointSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "0abec8e7a5b8f9a80bb4fd6857328f8f6c8eb0948a78c8649338cd1fea431caf";

    fn inspected(network_mode: &str) -> ContainerInspectResponse {
        serde_json::from_value(json!({
            "Id": ID,
            "Name": "/api",
            "Config": {
                "Hostname": &ID[..12], "Image": "api:2", "User": "app", "WorkingDir": "/srv",
                "Env": ["PATH=/bin", "MODE=prod", "VERSION=2"],
                "Cmd": ["serve"], "Entrypoint": ["/entry"],
                "Labels": {"built": "2", "com.docker.compose.service": "api"},
                "Volumes": {"/data": {}}, "ExposedPorts": {"80/tcp": {}, "99/tcp": {}},
            },
            "HostConfig": {
                "NetworkMode": network_mode, "Binds": ["/etc/x:/x:ro"],
                "Mounts": [{"Type": "volume", "Target": "/cache"}],
                "Memory": 1_000_000, "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
            },
            "Mounts": [
                {"Type": "volume", "Name": "anon1", "Destination": "/data", "RW": true},
                {"Type": "volume", "Name": "anon2", "Destination": "/cache", "RW": true},
                {"Type": "bind", "Source": "/etc/x", "Destination": "/x", "RW": false},
            ],
            "NetworkSettings": {"Networks": {
                "front": {"NetworkID": "n1", "Aliases": ["api", &ID[..12]], "IPAddress": "10.0.0.9",
                          "IPAMConfig": {"IPv4Address": "10.0.0.9"}},
                "back": {"NetworkID": "n2", "Aliases": ["db-client"], "MacAddress": "02:42:00"},
            }},
        }))
        .unwrap()
    }

    fn image() -> ImageConfig {
        serde_json::from_value(json!({
            "Env": ["PATH=/bin", "VERSION=2"], "Cmd": ["serve"], "Entrypoint": ["/entry"],
            "WorkingDir": "/srv", "Labels": {"built": "2"}, "Volumes": {"/data": {}},
            "ExposedPorts": {"80/tcp": {}},
        }))
        .unwrap()
    }

    #[test]
    fn the_images_defaults_go_and_a_persons_settings_stay() {
        let body = recipe(&inspected("front"), Some(&image()), "sha256:old").body;
        assert_eq!(body.image.as_deref(), Some("sha256:old"));
        assert_eq!(body.env, Some(vec!["MODE=prod".to_owned()]));
        assert_eq!((body.cmd, body.entrypoint, body.working_dir), (None, None, None));
        assert_eq!(body.user.as_deref(), Some("app"));
        assert_eq!(body.hostname, None);
        let labels = body.labels.unwrap();
        assert_eq!(labels.keys().collect::<Vec<_>>(), ["com.docker.compose.service"]);
        assert_eq!(body.exposed_ports, Some(vec!["99/tcp".to_owned()]));
        let host = body.host_config.unwrap();
        assert_eq!(host.memory, Some(1_000_000));
        assert!(host.restart_policy.is_some());
    }

    #[test]
    fn an_own_command_stays() {
        let mut inspect = inspected("front");
        inspect.config.as_mut().unwrap().cmd = Some(vec!["worker".to_owned()]);
        let body = recipe(&inspect, Some(&image()), "x").body;
        assert_eq!(body.cmd, Some(vec!["worker".to_owned()]));
        inspect.config.as_mut().unwrap().entrypoint = Some(vec!["/own".to_owned()]);
        inspect.config.as_mut().unwrap().cmd = Some(vec!["serve".to_owned()]);
        let body = recipe(&inspect, Some(&image()), "x").body;
        assert_eq!(body.entrypoint, Some(vec!["/own".to_owned()]));
        assert_eq!(
            body.cmd,
            Some(vec!["serve".to_owned()]),
            "an own entry point keeps its command"
        );
    }

    #[test]
    fn anonymous_volumes_get_their_names() {
        let host = recipe(&inspected("front"), Some(&image()), "x").body.host_config.unwrap();
        assert_eq!(host.binds.unwrap(), ["/etc/x:/x:ro", "anon1:/data:rw"]);
        assert_eq!(host.mounts.unwrap()[0].source.as_deref(), Some("anon2"));
    }

    #[test]
    fn networks_keep_aliases_and_addresses() {
        let recipe = recipe(&inspected("front"), None, "x");
        let first = recipe.body.networking_config.unwrap().endpoints_config.unwrap();
        let front = &first["front"];
        assert_eq!(front.aliases, Some(vec!["api".to_owned()]));
        let address = front.ipam_config.as_ref().unwrap().ipv4_address.as_deref();
        assert_eq!(address, Some("10.0.0.9"));
        assert_eq!(front.ip_address, None);
        assert_eq!(recipe.networks.len(), 1);
        assert_eq!(recipe.networks[0].0, "back");
        assert_eq!(recipe.networks[0].1.mac_address, None);
    }

    #[test]
    fn the_hosts_network_takes_no_endpoint() {
        let mut inspect = inspected("host");
        inspect.config.as_mut().unwrap().hostname = Some("machine".to_owned());
        let recipe = recipe(&inspect, None, "x");
        assert!(recipe.body.networking_config.is_none() && recipe.networks.is_empty());
        assert_eq!(recipe.body.hostname, None);
    }
}

//! Relative paths are relative to the file that they are written in, whatever includes it.

use std::fs;
use std::path::Path;

use super::*;

/// A folder with `jarvis.toml` that includes files of three other folders.
fn load(files: &[(&str, &str)]) -> (tempfile::TempDir, Config) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("jarvis.toml"),
        "include = [\"*/*.toml\"]\n[jarvis]\nkill_switch = \"STOP\"\n",
    )
    .unwrap();
    for (file, text) in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let config = Config::load(&Source::empty().with_directory(folder.path())).unwrap();
    (folder, config)
}

fn is_in(folder: &tempfile::TempDir, place: &str, path: Option<&Path>) {
    assert_eq!(path, Some(folder.path().join(place).as_path()));
}

#[test]
fn an_included_file_names_paths_beside_itself() {
    let (folder, config) = load(&[(
        "conf/a.toml",
        "[jarvis]\nstate_dir = \"state\"\n[store]\nsession = \"sqlite:data/x.db\"\ncache = \"memory:\"\n\
         [[service.a.check]]\ntype = \"command\"\ncommand = [\"true\"]\ncwd = \"work\"\n\
         [[service.a.check]]\ntype = \"command\"\ncommand = [\"true\"]\ncwd = \"/absolute\"\n\
         [service.a.restart]\nvia = \"command\"\ncommand = [\"true\"]\ncwd = \"../up\"\n\
         [alert.ops]\ntype = \"command\"\ncommand = [\"true\"]\ncwd = \"hooks\"\n",
    )]);
    assert_eq!(config.jarvis.state_dir, folder.path().join("conf/state"));
    assert_eq!(config.jarvis.kill_switch, folder.path().join("STOP"));
    let file = config.store.session.sqlite_file(Path::new("/never"));
    is_in(&folder, "conf/data/x.db", file.as_deref());
    assert_eq!(config.store.cache.expose(), "memory:");
    let service = config.service("a").unwrap();
    let check = |at: usize| {
        let section = &service.checks[at].section;
        section.parse::<supervision::health::command::CommandConfig>().unwrap().cwd.unwrap()
    };
    is_in(&folder, "conf/work", Some(&check(0)));
    assert_eq!(&*check(1), Path::new("/absolute"));
    let restart = &service.restart.as_ref().unwrap().section;
    let restart = restart.parse::<supervision::restart::command::CommandConfig>().unwrap();
    is_in(&folder, "conf/../up", restart.cwd.as_deref());
    let sink = config.alerts[0].section.parse::<supervision::alert::CommandConfig>().unwrap();
    is_in(&folder, "conf/hooks", sink.cwd.as_deref());
}

#[cfg(all(feature = "http", feature = "redis", feature = "postgres"))]
#[test]
fn certificates_are_found_at_any_depth_in_includes_templates_and_defaults() {
    let (folder, config) = load(&[
        (
            "one/services.toml",
            "[service.a]\ntemplate = \"web\"\n\
             [[service.a.check]]\ntype = \"http\"\nurl = \"https://h\"\ntls = { ca_file = \"http.pem\" }\n\
             [[service.a.check]]\ntype = \"redis\"\nurl = \"rediss://h\"\n[service.a.check.tls]\nca_file = \"redis.pem\"\n\
             [[service.a.check]]\ntype = \"postgres\"\nurl = \"postgres://h\"\ntls.ca_file = \"postgres.pem\"\n\
             [[service.a.check]]\ntype = \"model\"\nmodel = \"m\"\nbase_url = \"https://h\"\n\
             [alert.hook]\ntype = \"webhook\"\nurl = \"https://h/x\"\nca_file = \"hook.pem\"\n\
             [heartbeat]\nurl = \"https://h/x\"\nca_file = \"beat.pem\"\n\
             [service.b]\ntemplate = \"web\"\n",
        ),
        ("two/defaults.toml", "[defaults.check]\ntls = { ca_file = \"default.pem\" }\n"),
        (
            "three/template.toml",
            "[[template.web.check]]\ntype = \"http\"\nurl = \"https://h\"\ntls.ca_file = \"template.pem\"\n",
        ),
    ]);
    let ca_file = |service: &str, at: usize| {
        let check = &config.service(service).unwrap().checks[at];
        let tls = match check.kind.as_str() {
            "http" => check.section.parse::<supervision::health::http::HttpConfig>().unwrap().tls,
            "redis" => {
                check.section.parse::<supervision::health::redis::RedisConfig>().unwrap().tls
            }
            "model" => {
                check.section.parse::<supervision::health::model::ModelConfig>().unwrap().tls
            }
            _ => {
                check.section.parse::<supervision::health::postgres::PostgresConfig>().unwrap().tls
            }
        };
        tls.ca_file
    };
    is_in(&folder, "one/http.pem", ca_file("a", 0).as_deref());
    is_in(&folder, "one/redis.pem", ca_file("a", 1).as_deref());
    is_in(&folder, "one/postgres.pem", ca_file("a", 2).as_deref());
    is_in(&folder, "two/default.pem", ca_file("a", 3).as_deref());
    is_in(&folder, "three/template.pem", ca_file("b", 0).as_deref());
    let hook = config.alerts[0].section.parse::<supervision::alert::WebhookConfig>().unwrap();
    is_in(&folder, "one/hook.pem", hook.ca_file.as_deref());
    let beat = config.heartbeat.as_ref().unwrap();
    let beat = beat.parse::<supervision::alert::HeartbeatConfig>().unwrap();
    is_in(&folder, "one/beat.pem", beat.ca_file.as_deref());
}

#[cfg(all(feature = "docker", feature = "process", feature = "host"))]
#[test]
fn keys_pid_files_disks_and_working_directories_too() {
    let (folder, config) = load(&[(
        "conf/a.toml",
        "[[service.a.check]]\ntype = \"process\"\npidfile = \"a.pid\"\n\
         [[service.a.check]]\ntype = \"host\"\ndisk = [{ path = \"data\" }]\n\
         [service.a.restart]\nvia = \"process\"\ncommand = [\"true\"]\ncwd = \"run\"\n\
         [[service.b.check]]\ntype = \"tcp\"\naddress = \"h:1\"\n\
         [service.b.restart]\nvia = \"docker\"\ncontainer = \"b\"\n\
         tls = { ca = \"ca.pem\", cert = \"cert.pem\", key = \"key.pem\" }\n",
    )]);
    let a = config.service("a").unwrap();
    let process = &a.checks[0].section;
    let process = process.parse::<supervision::health::process::ProcessConfig>().unwrap();
    is_in(&folder, "conf/a.pid", process.pidfile.as_deref());
    let host = a.checks[1].section.parse::<supervision::health::host::HostConfig>().unwrap();
    is_in(&folder, "conf/data", Some(&host.disk[0].path));
    let run = &a.restart.as_ref().unwrap().section;
    let run = run.parse::<supervision::restart::process::ProcessConfig>().unwrap();
    is_in(&folder, "conf/run", run.cwd.as_deref());
    let docker = &config.service("b").unwrap().restart.as_ref().unwrap().section;
    let docker = docker.parse::<supervision::restart::docker::DockerConfig>().unwrap();
    let tls = docker.tls.unwrap();
    is_in(&folder, "conf/ca.pem", tls.ca.as_deref());
    is_in(&folder, "conf/cert.pem", tls.cert.as_deref());
    is_in(&folder, "conf/key.pem", tls.key.as_deref());
}

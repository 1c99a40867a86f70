//! [`Program`]: what to run, checked before anything is stopped for it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::secret::REDACTED;
use crate::url_parts::UrlParts;
use crate::{Error, ErrorKind, Result, Secret};

/// Where programs are looked for when nobody says.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A program with its arguments and surroundings. Its `Debug` shows no value of the environment.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The working directory, instead of this process's.
    pub cwd: Option<PathBuf>,
    /// Variables to set.
    pub env: BTreeMap<String, Secret<String>>,
    /// Start from an empty environment instead of this process's.
    pub env_clear: bool,
    /// User and group number to become.
    pub account: Option<(u32, u32)>,
    /// What [`run`](super::run) gives it on its standard input; nothing unless set.
    pub input: Option<Vec<u8>>,
}

impl Program {
    /// A program from its arguments, the first of which is the program.
    ///
    /// # Errors
    /// `ConfigInvalid` for an empty list, an empty first entry or a NUL byte.
    pub fn new(key: &str, argv: &[String]) -> Result<Self> {
        if argv.first().is_none_or(String::is_empty) || argv.iter().any(|arg| arg.contains('\0')) {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                format!(
                    "{key} must name a program and its arguments, such as [\"/usr/bin/app\", \"--port\", \"8000\"]"
                ),
            ));
        }
        Ok(Self { argv: argv.to_vec(), ..Self::default() })
    }

    /// The program's name, for messages.
    pub fn name(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    fn search_path(&self) -> OsString {
        match self.env.get("PATH") {
            Some(path) => path.expose().into(),
            None if self.env_clear => DEFAULT_PATH.into(),
            None => std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into()),
        }
    }

    /// The file that would be run.
    ///
    /// # Errors
    /// `NotFound` when the working directory or the program is missing, `Forbidden` when the
    /// program is no executable file. Each message says which.
    pub fn locate(&self) -> Result<PathBuf> {
        if let Some(cwd) = &self.cwd
            && !cwd.is_dir()
        {
            return Err(Error::new(ErrorKind::NotFound, "the working directory does not exist")
                .with_context("cwd", cwd.display()));
        }
        let name = self.name();
        if name.contains('/') {
            let path = self.cwd.as_deref().unwrap_or(Path::new("")).join(name);
            return executable(&path).map(|()| path);
        }
        let mut found = None;
        for folder in std::env::split_paths(&self.search_path()) {
            let path = folder.join(name);
            match executable(&path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() != ErrorKind::NotFound => found = Some(error),
                Err(_) => {}
            }
        }
        Err(found.unwrap_or_else(|| missing(name)))
    }

    /// The command: in a process group of its own, without an input.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.name());
        command.args(self.argv.iter().skip(1)).stdin(Stdio::null()).process_group(0);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        if self.env_clear {
            command.env_clear();
        }
        command.envs(self.env.iter().map(|(key, value)| (key, value.expose())));
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Text that the program wrote, without the secrets that we know it was given.
    pub fn mask(&self, text: &str) -> String {
        let given = self.env.iter().map(|(key, value)| (key.clone(), value.expose().clone()));
        let inherited = std::env::vars().filter(|_| !self.env_clear);
        let mut secrets: Vec<String> =
            given.chain(inherited).flat_map(|(key, value)| secret_parts(&key, value)).collect();
        // The longest first, so that a secret that holds another one is not left in parts.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, REDACTED))
    }

    /// What a failed spawn means.
    pub fn spawn_error(&self, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::NotFound {
            // What exists and yet is "not found" is a script whose interpreter is missing.
            return match self.locate() {
                Err(error) => error,
                Ok(path) => Error::new(
                    ErrorKind::NotFound,
                    "the program's interpreter (its first line, or its loader) does not exist",
                )
                .with_context("program", path.display())
                .with_source(error),
            };
        }
        let hint = match error.raw_os_error() {
            Some(libc::EAGAIN) => return Error::new(
                ErrorKind::Exhausted,
                "failed to start the program: no process or thread is left (see ulimit -u, pids.max)",
            )
            .with_context("program", self.name())
            .with_source(error),
            Some(libc::ENOEXEC) => "its format is not executable; does a script lack its #! line?",
            Some(libc::EACCES | libc::EPERM) => "permission denied; check that it is executable and that JARVIS may switch to that user",
            _ => "failed to start the program",
        };
        let reason = error.to_string();
        let kind = Error::from(error).kind();
        Error::new(kind, hint).with_context("program", self.name()).with_context("reason", reason)
    }
}

/// What of a variable must not be shown: all of it when its name says so, or the password in a
/// URL. A secret of less than four bytes is left: it would be found everywhere.
fn secret_parts(key: &str, value: String) -> Vec<String> {
    const WORDS: [&str; 9] =
        ["KEY", "TOKEN", "SECRET", "PASS", "PWD", "CREDENTIAL", "AUTH", "COOKIE", "PRIVATE"];
    let key = key.to_ascii_uppercase();
    let mut secrets =
        if WORDS.iter().any(|word| key.contains(word)) && key != "PWD" && key != "OLDPWD" {
            vec![value]
        } else {
            passwords(&value)
        };
    secrets.retain(|secret| secret.len() >= 4);
    secrets
}

/// The password of a URL: as its delimiters say, and where an unencoded delimiter in a password
/// may have misled them, up to the last `@`.
fn passwords(url: &str) -> Vec<String> {
    let parts = UrlParts::split(url);
    if parts.scheme.is_empty() {
        return Vec::new();
    }
    let rest = &url[parts.scheme.len() + "://".len()..];
    let whole = rest.rsplit_once('@').and_then(|(user_info, _)| user_info.split_once(':'));
    parts
        .password()
        .into_iter()
        .chain(whole.map(|(_, password)| password))
        .map(str::to_owned)
        .collect()
}

fn missing(name: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::NotFound, "the program does not exist; check the path and PATH")
        .with_context("program", name)
}

fn executable(path: &Path) -> Result<()> {
    let Ok(metadata) = path.metadata() else { return Err(missing(path.display())) };
    if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Forbidden, "the program is not an executable file; try chmod +x")
        .with_context("program", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(argv: &[&str]) -> Program {
        let argv: Vec<String> = argv.iter().map(|arg| (*arg).to_owned()).collect();
        Program::new("command", &argv).unwrap()
    }

    #[test]
    fn what_cannot_be_run_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        std::fs::write(&plain, "text").unwrap();

        assert!(program(&["sh"]).locate().unwrap().ends_with("sh"));
        let kind = |program: &Program| program.locate().unwrap_err().kind();
        assert_eq!(kind(&program(&["no-such-program"])), ErrorKind::NotFound);
        assert_eq!(kind(&program(&["/no/such/program"])), ErrorKind::NotFound);
        assert_eq!(kind(&program(&[plain.to_str().unwrap()])), ErrorKind::Forbidden);
        let mut lost = program(&["sh"]);
        lost.cwd = Some(folder.path().join("gone"));
        assert!(lost.locate().unwrap_err().to_string().contains("working directory"));
        let mut relative = program(&["./plain"]);
        relative.cwd = Some(folder.path().to_owned());
        assert_eq!(kind(&relative), ErrorKind::Forbidden);
    }

    #[test]
    fn what_looks_like_a_secret_is_masked() {
        let mut program = program(&["app"]);
        let env = [
            ("API_KEY", "sk-live-1"),
            ("DATABASE_URL", "postgres://u:hunter2@db/x"),
            ("BROKER_URL", "amqp://u:sla/sh3d@mq/x"),
            ("PORT", "8000"),
            ("SHORT_KEY", "abc"),
        ];
        program.env_clear = true;
        program.env = env.map(|(key, value)| (key.to_owned(), Secret::new(value.into()))).into();
        assert_eq!(
            program.mask("sk-live-1 at hunter2@db and sla/sh3d port 8000 abc"),
            "[redacted] at [redacted]@db and [redacted] port 8000 abc"
        );
        assert!(!format!("{program:?}").contains("hunter2"));
    }

    #[test]
    fn an_empty_command_is_refused() {
        for argv in [vec![], vec![String::new()], vec!["a\0b".to_owned()]] {
            assert_eq!(
                Program::new("command", &argv).unwrap_err().kind(),
                ErrorKind::ConfigInvalid
            );
        }
    }

    #[test]
    fn a_script_without_its_interpreter_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = program(&[script.to_str().unwrap()]);
        let error = program.spawn_error(program.command().spawn().unwrap_err());
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("interpreter"), "{error}");
    }
}

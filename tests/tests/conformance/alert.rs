//! Backends of `AlertSink`.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use jarvis_core::alert::{
    AlertSink, CommandConfig, CommandSink, LogConfig, LogSink, MemorySink, Preset, WebhookConfig,
    WebhookSink,
};
use jarvis_core::clock::SystemClock;
use jarvis_core::testkit::alert::{CASES, Receiver, SinkEnv};
use jarvis_core::{Error, ErrorKind, Result, Secret};
use jarvis_tests::receiver::{Answer, HttpReceiver};

use crate::harness::Suite;

#[derive(Debug)]
struct Memory(MemorySink);

#[async_trait]
impl SinkEnv for Memory {
    async fn sink(&self, receiver: Receiver) -> Result<Option<Arc<dyn AlertSink>>> {
        match receiver {
            Receiver::Busy => self.0.fail_next(Error::new(ErrorKind::Unavailable, "busy")),
            Receiver::Refuses => self.0.fail_next(Error::new(ErrorKind::InvalidInput, "no")),
            _ => {}
        }
        Ok(Some(Arc::new(self.0.clone())))
    }

    async fn taken(&self) -> Result<Option<Vec<String>>> {
        Ok(Some(self.0.delivered().into_iter().map(|alert| alert.title).collect()))
    }

    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}

#[derive(Debug)]
struct Log;

#[async_trait]
impl SinkEnv for Log {
    async fn sink(&self, receiver: Receiver) -> Result<Option<Arc<dyn AlertSink>>> {
        let sink = LogSink::new(LogConfig::default())?;
        Ok((receiver == Receiver::Takes).then(|| Arc::new(sink) as Arc<dyn AlertSink>))
    }

    async fn taken(&self) -> Result<Option<Vec<String>>> {
        Ok(None)
    }

    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}

const TOKEN: &str = "tok-9f8e7d6c5b4a";

#[derive(Debug)]
struct Command(tempfile::TempDir);

fn script(folder: &Path) -> String {
    // One file a message, so that several at once don't mix.
    format!("f=$(mktemp {}/tmp.XXXXXX) && cat >$f && mv $f $f.json", folder.display())
}

#[async_trait]
impl SinkEnv for Command {
    async fn sink(&self, receiver: Receiver) -> Result<Option<Arc<dyn AlertSink>>> {
        let script = match receiver {
            Receiver::Takes => script(self.0.path()),
            Receiver::Busy => "echo \"busy: $TOKEN\" >&2; exit 75".to_owned(),
            _ => return Ok(None),
        };
        let mut config = CommandConfig::new(["/bin/sh", "-c", &script]);
        config.env.insert("TOKEN".to_owned(), Secret::new(TOKEN.to_owned()));
        Ok(Some(Arc::new(CommandSink::new(config, Arc::new(SystemClock::new()))?)))
    }

    async fn taken(&self) -> Result<Option<Vec<String>>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(self.0.path())? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        files.sort();
        let texts = files.into_iter().map(|(_, path)| std::fs::read_to_string(path));
        Ok(Some(texts.collect::<std::io::Result<_>>()?))
    }

    fn secrets(&self) -> Vec<String> {
        vec![TOKEN.to_owned()]
    }
}

#[derive(Debug)]
struct Webhook(HttpReceiver, Preset);

#[async_trait]
impl SinkEnv for Webhook {
    async fn sink(&self, receiver: Receiver) -> Result<Option<Arc<dyn AlertSink>>> {
        // A receiver that repeats what it must not.
        let repeats = format!("you sent {TOKEN} to /hooks/{TOKEN}-path");
        self.0.answer(match receiver {
            Receiver::Busy => Answer::status(503).with_body(&repeats),
            Receiver::Refuses => Answer::status(403).with_body(&repeats),
            _ => Answer::status(204),
        });
        let mut config = WebhookConfig::new(self.0.url(&format!("/hooks/{TOKEN}-path")));
        config.preset = Some(self.1);
        config.headers.insert("Authorization".into(), Secret::new(format!("Bearer {TOKEN}")));
        config.headers.insert("X-Token".into(), Secret::new(TOKEN.into()));
        config.hmac_secret = Some(Secret::new(format!("hmac-{TOKEN}")));
        Ok(Some(Arc::new(WebhookSink::new(config, Arc::new(SystemClock::new()))?)))
    }

    async fn taken(&self) -> Result<Option<Vec<String>>> {
        Ok(Some(self.0.taken().into_iter().map(|it| it.json().to_string()).collect()))
    }

    fn secrets(&self) -> Vec<String> {
        vec![TOKEN.to_owned()]
    }
}

pub(crate) fn add(suite: &mut Suite) {
    let memory = || async { Ok(Memory(MemorySink::new())) };
    suite.backend("alert", "memory", CASES, |env: &Memory| env, memory);
    suite.backend("alert", "log", CASES, |env: &Log| env, || async { Ok(Log) });
    let command = || async { Ok(Command(tempfile::tempdir()?)) };
    suite.backend("alert", "command", CASES, |env: &Command| env, command);
    for (name, preset) in [
        ("webhook-json", Preset::Json),
        ("webhook-slack", Preset::Slack),
        ("webhook-discord", Preset::Discord),
        ("webhook-ntfy", Preset::Ntfy),
    ] {
        suite.backend("alert", name, CASES, |env: &Webhook| env, move || async move {
            Ok(Webhook(HttpReceiver::start(Answer::status(204)).await, preset))
        });
    }
}

//! A JSON document with places to fill in.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Value, json};

use crate::alert::{Alert, AlertStatus};
use base::clock::WallTime;
use base::vocabulary::Severity;
use base::{Error, ErrorKind, Result};

const NAME: &str = "body";
/// How much work one rendering may be; a template that loops is stopped.
const FUEL: u64 = 100_000;
const MAX_SIZE: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Template(Environment<'static>);

/// Text that breaks everything that is not escaped.
const NASTY: &str = "a \"quote\", a \\ and\na line </script> {{ x }} \u{1} \u{2028} ünï";

impl Template {
    /// Compiles it, and tries it with text that breaks what is not escaped.
    pub(super) fn new(source: &str) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Json);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| wrong(&error))?;
        let template = Self(environment);
        for status in [AlertStatus::Triggered, AlertStatus::Resolved, AlertStatus::Test] {
            let sample =
                Alert::new(NASTY, NASTY, status, Severity::Critical, NASTY, WallTime::default())
                    .with_body(NASTY);
            template.render(&sample)?;
        }
        Ok(template)
    }

    pub(super) fn render(&self, alert: &Alert) -> Result<String> {
        let template = self.0.get_template(NAME).map_err(|error| wrong(&error))?;
        let text = template.render(Serde(names(alert))).map_err(|error| wrong(&error))?;
        if text.len() > MAX_SIZE {
            return Err(Error::new(ErrorKind::TooLarge, "the template gives more than 256 KiB"));
        }
        match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
            Ok(_) => Ok(text),
            Err(error) => Err(Error::new(
                ErrorKind::ConfigInvalid,
                "body does not give JSON; write {{ title }} without quotes around it",
            )
            .with_context("reason", error)),
        }
    }
}

/// Every name is there in every message, so that a typing error is found at load.
fn names(alert: &Alert) -> Value {
    json!({
        "id": alert.id,
        "key": alert.key,
        "status": alert.status,
        "severity": alert.severity,
        "service": alert.service,
        "title": alert.title,
        "body": alert.body,
        "at": alert.at,
        "lasted_ms": alert.lasted.map(|lasted| u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX)),
    })
}

fn wrong(error: &minijinja::Error) -> Error {
    let line = error.line().unwrap_or_default();
    let detail = error.detail().unwrap_or_default();
    Error::new(
        ErrorKind::ConfigInvalid,
        format!("body is wrong in its line {line}: {} {detail}", error.kind()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_json() {
        let template = Template::new(
            r#"{"summary": {{ title }}, "text": {{ title ~ " / " ~ body }}, "for": {{ service }}, "ms": {{ lasted_ms }}{% if status == "resolved" %}, "over": true{% endif %}}"#,
        )
        .unwrap();
        let alert =
            Alert::new("i", "k", AlertStatus::Resolved, Severity::Info, NASTY, WallTime::default())
                .with_body("b");
        let document: Value = serde_json::from_str(&template.render(&alert).unwrap()).unwrap();
        assert_eq!(document["summary"], NASTY);
        assert_eq!(document["text"], format!("{NASTY} / b"));
        assert_eq!((&document["for"], &document["over"]), (&Value::Null, &Value::Bool(true)));
    }

    #[test]
    fn what_would_break_later_is_refused_at_load() {
        for source in [
            r#"{"text": "{{ title }}"}"#,
            r#"{"text": {{ tilte }}}"#,
            r#"{"text": {{ title }"#,
            r#"{"text": {{ title | safe }}}"#,
            r#"{% for i in range(100000) %}{% for j in range(100000) %}1{% endfor %}{% endfor %}"#,
        ] {
            let error = Template::new(source).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{source}: {error}");
        }
    }
}

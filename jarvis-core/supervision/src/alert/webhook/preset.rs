//! The words of well-known receivers.

use serde_json::{Value, json};

use super::Preset;
use crate::alert::record::human;
use crate::alert::{Alert, AlertStatus};
use base::text::bounded;
use base::vocabulary::Severity;
use base::{Error, ErrorKind, Result};

/// The message in the receiver's form.
pub(super) fn document(preset: Preset, topic: &str, alert: &Alert) -> Result<Value> {
    Ok(match preset {
        Preset::Json => serde_json::to_value(alert).map_err(|error| {
            Error::new(ErrorKind::Internal, "failed to serialize an alert as JSON")
                .with_source(error)
        })?,
        Preset::Slack => slack(alert),
        Preset::Discord => discord(alert),
        Preset::Ntfy => ntfy(topic, alert),
    })
}

fn is_over(alert: &Alert) -> bool {
    matches!(alert.status, AlertStatus::Recovered | AlertStatus::Resolved)
}

fn word(alert: &Alert) -> &'static str {
    match (alert.status, alert.severity) {
        (AlertStatus::Test, _) => "TEST",
        (AlertStatus::Recovered, _) => "RECOVERED",
        (AlertStatus::Resolved, _) => "RESOLVED",
        (AlertStatus::Reminder, _) => "STILL",
        (_, Severity::Critical) => "CRITICAL",
        (_, Severity::Warning) => "WARNING",
        (_, Severity::Info) => "INFO",
    }
}

fn details(alert: &Alert) -> String {
    match alert.lasted {
        Some(lasted) if alert.body.is_empty() => format!("Lasted {}", human(lasted)),
        Some(lasted) => format!("{}\nLasted {}", alert.body, human(lasted)),
        None => alert.body.clone(),
    }
}

/// `&`, `<` and `>` are control characters there, in any text:
/// <https://docs.slack.dev/messaging/formatting-message-text/#escaping>.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/>
fn slack(alert: &Alert) -> Value {
    let colour = match alert.severity {
        _ if is_over(alert) => "good",
        Severity::Critical => "danger",
        Severity::Warning => "warning",
        Severity::Info => "#808080",
    };
    let title = slack_text(&format!("[{}] {}", word(alert), alert.title));
    json!({
        "text": title,
        "attachments": [{
            "color": colour,
            "fallback": title,
            "text": slack_text(&bounded(&details(alert), 3_000)),
            "footer": slack_text(&alert.key),
            "ts": alert.at.millis().div_euclid(1_000),
        }],
    })
}

/// <https://discord.com/developers/docs/resources/webhook#execute-webhook>: a title has at most
/// 256 characters, a description 4096. Nobody is mentioned, whatever a text says.
fn discord(alert: &Alert) -> Value {
    let colour = match alert.severity {
        _ if is_over(alert) => 0x2e_cc_71,
        Severity::Critical => 0xe7_4c_3c,
        Severity::Warning => 0xf1_c4_0f,
        Severity::Info => 0x95_a5_a6,
    };
    json!({
        "embeds": [{
            "title": bounded(&format!("[{}] {}", word(alert), alert.title), 256),
            "description": bounded(&details(alert), 4_096),
            "color": colour,
            "timestamp": alert.at,
            "footer": { "text": bounded(&alert.key, 256) },
        }],
        "allowed_mentions": { "parse": [] },
    })
}

/// <https://docs.ntfy.sh/publish/#publish-as-json>: a message of at most 4096 bytes, to the
/// server's root, with the topic in the document.
fn ntfy(topic: &str, alert: &Alert) -> Value {
    let (priority, tag) = match alert.severity {
        _ if is_over(alert) => (3, "white_check_mark"),
        Severity::Critical => (5, "rotating_light"),
        Severity::Warning => (4, "warning"),
        Severity::Info => (2, "information_source"),
    };
    let details = details(alert);
    let message = if details.is_empty() { alert.title.clone() } else { details };
    json!({
        "topic": topic,
        "title": format!("[{}] {}", word(alert), alert.title),
        "message": bounded(&message, 4_000),
        "priority": priority,
        "tags": [tag],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::WallTime;
    use std::time::Duration;

    #[test]
    fn nasty_text_stays_text() {
        let nasty = "<!channel> & \"quotes\" \\ @everyone\n{\"a\":1}";
        let alert = Alert::new(
            "i",
            "k",
            AlertStatus::Resolved,
            Severity::Critical,
            nasty,
            WallTime::default(),
        )
        .with_body("x".repeat(9_000))
        .with_lasted(Duration::from_secs(200));
        for preset in [Preset::Json, Preset::Slack, Preset::Discord, Preset::Ntfy] {
            let text = document(preset, "ops", &alert).unwrap().to_string();
            let back: Value = serde_json::from_str(&text).unwrap();
            let shown = match preset {
                Preset::Json => back["title"].as_str(),
                Preset::Slack => back["text"].as_str(),
                Preset::Discord => back["embeds"][0]["title"].as_str(),
                Preset::Ntfy => back["title"].as_str(),
            };
            assert!(shown.unwrap().contains("\"quotes\" \\ @everyone\n"), "{preset:?}");
        }
        let slack = document(Preset::Slack, "", &alert).unwrap();
        assert!(slack["text"].as_str().unwrap().starts_with("[RESOLVED] &lt;!channel&gt; &amp;"));
        assert_eq!(slack["attachments"][0]["color"], "good");
        let discord = document(Preset::Discord, "", &alert).unwrap();
        assert_eq!(discord["allowed_mentions"]["parse"], json!([]));
        assert!(discord["embeds"][0]["description"].as_str().unwrap().chars().count() <= 4_096);
    }
}

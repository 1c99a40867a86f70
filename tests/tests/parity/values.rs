//! What the values of a step stand for: `$s.id`, `$unique`, `{"$repeat": …}`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Answers by their names, and the text that is this case's own.
pub(crate) struct Names {
    pub(crate) unique: String,
    pub(crate) answers: BTreeMap<String, Value>,
}

impl Names {
    /// Puts in what a value of a step stands for.
    pub(crate) fn resolve(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => self.text(text)?,
            Value::Array(items) => {
                Value::Array(items.iter().map(|it| self.resolve(it)).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => match members.get("$repeat") {
                Some(repeat) => repeated(repeat)?,
                None => Value::Object(self.members(members)?),
            },
            other => other.clone(),
        })
    }

    pub(crate) fn members(
        &self,
        members: &Map<String, Value>,
    ) -> Result<Map<String, Value>, String> {
        members
            .iter()
            .map(|(name, value)| Ok((self.unique_in(name), self.resolve(value)?)))
            .collect()
    }

    fn unique_in(&self, text: &str) -> String {
        text.replace("$unique", &self.unique)
    }

    fn text(&self, text: &str) -> Result<Value, String> {
        let text = self.unique_in(text);
        let Some(name) = text.strip_prefix('$') else { return Ok(Value::String(text)) };
        let (name, member) = name.split_once('.').map_or((name, None), |(n, m)| (n, Some(m)));
        let answer = self.answers.get(name).ok_or_else(|| format!("nothing is called ${name}"))?;
        match member {
            None => Ok(answer.clone()),
            Some(member) => Ok(answer.get(member).cloned().unwrap_or(Value::Null)),
        }
    }
}

fn repeated(repeat: &Value) -> Result<Value, String> {
    let (text, times): (String, usize) =
        serde_json::from_value(repeat.clone()).map_err(|error| format!("$repeat: {error}"))?;
    Ok(Value::String(text.repeat(times)))
}

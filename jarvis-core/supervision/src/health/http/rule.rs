//! Rules over values: what a JSON path finds, what a header says.

use std::cmp::Ordering;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use base::{Error, ErrorKind, Result};

/// A value that must be there, or a table of operators of which each must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum RuleConfig {
    /// Operators: `{ ge = 1, lt = 100 }`.
    Operators(Box<Operators>),
    /// The value itself: `"ok"`, `3`, `true`, `["a"]`.
    Is(Value),
}

/// Operators of a rule. Numbers compare as numbers, texts as texts; a number and a text never do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Operators {
    /// Equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eq: Option<Value>,
    /// Not equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ne: Option<Value>,
    /// Less than.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lt: Option<Value>,
    /// At most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub le: Option<Value>,
    /// More than.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gt: Option<Value>,
    /// At least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ge: Option<Value>,
    /// The text has this in it, or the list has this element.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<Value>,
    /// A regular expression matches somewhere in the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// Is there anything at all?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
}

#[derive(Debug)]
enum Test {
    Equal(Value),
    NotEqual(Value),
    Compare(&'static str, fn(Ordering) -> bool, Value),
    Contains(Value),
    Matches(Regex),
    Exists,
    Absent,
}

/// A rule, ready to be applied.
#[derive(Debug)]
pub(crate) struct Rule(Box<[Test]>);

impl Rule {
    /// Compiles a rule.
    pub(crate) fn new(config: &RuleConfig) -> Result<Self> {
        let operators = match config {
            RuleConfig::Is(Value::Object(table)) => {
                let keys: Vec<&str> = table.keys().map(String::as_str).collect();
                return Err(Error::new(
                    ErrorKind::ConfigInvalid,
                    format!(
                        "{} is not an operator; the operators are eq, ne, lt, le, gt, ge, contains, matches, exists",
                        keys.join(", ")
                    ),
                ));
            }
            RuleConfig::Is(value) => return Ok(Self(Box::new([Test::Equal(value.clone())]))),
            RuleConfig::Operators(operators) => Operators::clone(operators),
        };
        let compare = |name, holds: fn(Ordering) -> bool| {
            move |value: Value| Test::Compare(name, holds, value)
        };
        let pattern = operators.matches.as_deref().map(compile).transpose()?;
        let tests: Box<[Test]> = [
            operators.eq.map(Test::Equal),
            operators.ne.map(Test::NotEqual),
            operators.lt.map(compare("<", Ordering::is_lt)),
            operators.le.map(compare("<=", Ordering::is_le)),
            operators.gt.map(compare(">", Ordering::is_gt)),
            operators.ge.map(compare(">=", Ordering::is_ge)),
            operators.contains.map(Test::Contains),
            pattern.map(Test::Matches),
            operators.exists.map(|exists| if exists { Test::Exists } else { Test::Absent }),
        ]
        .into_iter()
        .flatten()
        .collect();
        if tests.is_empty() {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                "a rule needs an operator; write for example { exists = true }",
            ));
        }
        Ok(Self(tests))
    }

    /// What is wrong with these values, in a few words; `None` when nothing is.
    pub(crate) fn broken_by(&self, values: &[&Value]) -> Option<String> {
        self.0.iter().find_map(|test| test.broken_by(values))
    }
}

/// Compiles a regular expression of bounded size.
pub(crate) fn compile(pattern: &str) -> Result<Regex> {
    regex::RegexBuilder::new(pattern).size_limit(1 << 20).build().map_err(|error| {
        Error::new(
            ErrorKind::ConfigInvalid,
            format!("{pattern:?} is not a valid regular expression"),
        )
        .with_source(error)
    })
}

impl Test {
    fn broken_by(&self, values: &[&Value]) -> Option<String> {
        match (self, values) {
            (Self::Absent, []) => return None,
            (Self::Absent, [found, ..]) => return Some(format!("is there: {}", short(found))),
            (_, []) => return Some("is missing".to_owned()),
            _ => {}
        }
        let wrong = values.iter().find(|value| !self.holds(value))?;
        let found = short(wrong);
        Some(match self {
            Self::Equal(wanted) => format!("is {found}, expected {}", short(wanted)),
            Self::NotEqual(_) => format!("is {found}"),
            Self::Compare(operator, _, limit) => {
                format!("is {found}, expected {operator} {}", short(limit))
            }
            Self::Contains(wanted) => format!("is {found}, without {}", short(wanted)),
            Self::Matches(pattern) => format!("is {found}, which {pattern} does not match"),
            Self::Exists | Self::Absent => format!("is {found}"),
        })
    }

    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Equal(wanted) => equal(value, wanted),
            Self::NotEqual(unwanted) => !equal(value, unwanted),
            Self::Compare(_, holds, limit) => order(value, limit).is_some_and(holds),
            Self::Contains(wanted) => contains(value, wanted),
            Self::Matches(pattern) => value.as_str().is_some_and(|text| pattern.is_match(text)),
            Self::Exists => true,
            Self::Absent => false,
        }
    }
}

fn equal(value: &Value, wanted: &Value) -> bool {
    value == wanted || order(value, wanted) == Some(Ordering::Equal)
}

fn order(value: &Value, other: &Value) -> Option<Ordering> {
    match (value, other) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn contains(value: &Value, wanted: &Value) -> bool {
    match value {
        Value::String(text) => wanted.as_str().is_some_and(|wanted| text.contains(wanted)),
        Value::Array(list) => list.iter().any(|element| equal(element, wanted)),
        _ => false,
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn broken(rule: Value, values: &[Value]) -> Option<String> {
        let rule = Rule::new(&serde_json::from_value(rule).unwrap()).unwrap();
        rule.broken_by(&values.iter().collect::<Vec<_>>())
    }

    #[test]
    fn rules_hold_or_say_why_not() {
        let held = [
            (json!("ok"), json!("ok")),
            (json!(1), json!(1.0)),
            (json!({"lt": 100, "ge": 1}), json!(99.5)),
            (json!({"contains": "b"}), json!(["a", "b"])),
            (json!({"matches": "^v\\d"}), json!("v12")),
            (json!({"ne": "down"}), json!("up")),
            (json!({"exists": true}), json!(null)),
        ];
        for (rule, value) in held {
            assert_eq!(broken(rule.clone(), &[value]), None, "{rule}");
        }
        let said = broken(json!({"lt": 100}), &[json!(1), json!(100)]);
        assert_eq!(said.as_deref(), Some("is 100, expected < 100"));
        assert_eq!(broken(json!("ok"), &[]).as_deref(), Some("is missing"));
        assert!(broken(json!({"gt": 1}), &[json!("2")]).is_some());
        assert_eq!(broken(json!({"exists": false}), &[]), None);
        assert!(broken(json!({"exists": false}), &[json!(1)]).is_some());
    }

    #[test]
    fn wrong_rules_are_refused() {
        for rule in [json!({}), json!({"less": 1}), json!({"matches": "("})] {
            let config: RuleConfig = serde_json::from_value(rule.clone()).unwrap();
            assert_eq!(Rule::new(&config).unwrap_err().kind(), ErrorKind::ConfigInvalid, "{rule}");
        }
    }
}

//! Compares an answer with what is expected of it.

use serde_json::Value;

/// `Err` says where they differ.
pub(crate) fn matches(expected: &Value, answer: &Value, at: &str) -> Result<(), String> {
    match expected {
        Value::Object(members) if members.contains_key("$type") => {
            of_type(&members["$type"], answer, at)
        }
        Value::Object(members) if members.contains_key("$length") => {
            let length = answer.as_array().map(|items| Value::from(items.len()));
            equal(&members["$length"], &length.unwrap_or(Value::Null), at)
        }
        Value::Object(members) => {
            if !answer.is_object() {
                return Err(format!("{at}: expected an object, got {answer}"));
            }
            members.iter().try_for_each(|(name, expected)| {
                let value = answer.get(name).unwrap_or(&Value::Null);
                matches(expected, value, &format!("{at}.{name}"))
            })
        }
        Value::Array(items) => {
            let answers = answer.as_array().filter(|answers| answers.len() == items.len());
            let answers =
                answers.ok_or_else(|| format!("{at}: expected {expected}, got {answer}"))?;
            items.iter().zip(answers).enumerate().try_for_each(|(index, (expected, answer))| {
                matches(expected, answer, &format!("{at}[{index}]"))
            })
        }
        scalar => equal(scalar, answer, at),
    }
}

fn equal(expected: &Value, answer: &Value, at: &str) -> Result<(), String> {
    let same = match (expected.as_f64(), answer.as_f64()) {
        (Some(expected), Some(answer)) => expected.to_bits() == answer.to_bits(),
        _ => expected == answer,
    };
    same.then_some(()).ok_or_else(|| format!("{at}: expected {expected}, got {answer}"))
}

fn of_type(expected: &Value, answer: &Value, at: &str) -> Result<(), String> {
    let fits = match expected.as_str() {
        Some("string") => answer.is_string(),
        Some("number") => answer.is_number(),
        Some("object") => answer.is_object(),
        // Times are text in the JSON of the library.
        Some("time") => answer.as_str().is_some_and(|text| text.ends_with('Z')),
        _ => return Err(format!("{at}: there is no type {expected}")),
    };
    fits.then_some(()).ok_or_else(|| format!("{at}: expected a {expected}, got {answer}"))
}

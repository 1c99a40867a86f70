//! JSON merge patch ([RFC 7396](https://www.rfc-editor.org/rfc/rfc7396)) on text. Values that the
//! patch does not name keep their text, so that a number of another language keeps its digits.

use std::collections::BTreeMap;

use jarvis_core::{Error, ErrorKind, Result};
use serde_json::value::{RawValue, to_raw_value};

type Fields = BTreeMap<String, Box<RawValue>>;

/// `target` with `patch` merged into it.
///
/// # Errors
/// `InvalidInput` if either is not JSON, or the patch is nested deeper than `max_depth`.
pub(crate) fn merge(target: &str, patch: &str, max_depth: u32) -> Result<String> {
    let parse = |text| serde_json::from_str::<&RawValue>(text).map_err(|error| refused(&error));
    Ok(merged(Some(parse(target)?), parse(patch)?, max_depth)?.get().to_owned())
}

fn merged(target: Option<&RawValue>, patch: &RawValue, depth: u32) -> Result<Box<RawValue>> {
    if !is_object(patch) {
        return Ok(patch.to_owned());
    }
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Error::new(ErrorKind::InvalidInput, "the data is nested too deeply"));
    };
    let mut fields = match target.filter(|target| is_object(target)) {
        Some(target) => fields(target)?,
        None => Fields::new(),
    };
    for (key, value) in self::fields(patch)? {
        if value.get() == "null" {
            fields.remove(&key);
        } else {
            let value = merged(fields.get(&key).map(|value| &**value), &value, depth)?;
            fields.insert(key, value);
        }
    }
    to_raw_value(&fields).map_err(|error| refused(&error))
}

fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

fn fields(object: &RawValue) -> Result<Fields> {
    serde_json::from_str(object.get()).map_err(|error| refused(&error))
}

fn refused(error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    let message = format!("the data is not JSON (line {line}, column {column})");
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of the RFC's appendix A whose target is an object, and ours.
    #[test]
    fn a_patch_does_what_the_rfc_says() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r"{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
            (
                r#"{"n":1e400}"#,
                r#"{"m":123456789012345678901234567890}"#,
                r#"{"m":123456789012345678901234567890,"n":1e400}"#,
            ),
        ] {
            assert_eq!(merge(target, patch, 9).unwrap(), result, "{target} + {patch}");
        }
    }

    #[test]
    fn what_is_nested_too_deep_or_no_json_is_refused() {
        let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        for patch in [deep.as_str(), "{", "{]", ""] {
            assert_eq!(merge("{}", patch, 64).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
}

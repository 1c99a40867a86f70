//! Three-way merge of session data.
//!
//! It works on the JSON texts: members that are not compared are not parsed, and members that stay
//! keep their exact bytes.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::SessionData;
use super::data::refused;
use base::Result;

/// The members of a JSON object, in the order of the text. Of two with the same name the last one
/// counts, as it does for `JSON.parse` and Python's `json`.
struct Members<'a> {
    order: Vec<String>,
    values: HashMap<String, &'a RawValue>,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let (mut order, mut values) = (Vec::new(), HashMap::new());
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if values.insert(name.clone(), value).is_none() {
                        order.push(name);
                    }
                }
                Ok(Members { order, values })
            }
        }

        deserializer.deserialize_map(Read)
    }
}

impl<'a> Members<'a> {
    fn of(data: &'a SessionData) -> Result<Self> {
        serde_json::from_str(data.as_str()).map_err(|error| refused(&error))
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.values.get(name).copied()
    }
}

/// See [`SessionData::merged`].
pub(super) fn merged(
    base: &SessionData,
    mine: &SessionData,
    theirs: &SessionData,
) -> Result<SessionData> {
    let (base, mine, theirs) = (Members::of(base)?, Members::of(mine)?, Members::of(theirs)?);
    let is_changed = |name: &str| match (base.get(name), mine.get(name)) {
        (Some(before), Some(now)) => !is_same(before, now),
        (before, now) => before.is_some() != now.is_some(),
    };
    let mut text = Object::default();
    for name in &theirs.order {
        if is_changed(name) {
            // Where I removed it, it is gone.
            if let Some(value) = mine.get(name) {
                text.push(name, value)?;
            }
        } else if let Some(value) = theirs.get(name) {
            text.push(name, value)?;
        }
    }
    for name in mine.order.iter().filter(|name| theirs.get(name).is_none()) {
        if let Some(value) = mine.get(name).filter(|_| is_changed(name)) {
            text.push(name, value)?;
        }
    }
    Ok(text.end())
}

/// The text of an object that is being written.
#[derive(Default)]
struct Object(String);

impl Object {
    fn push(&mut self, name: &str, value: &RawValue) -> Result<()> {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        let name = serde_json::to_string(name).map_err(|error| refused(&error))?;
        self.0.push_str(&name);
        self.0.push(':');
        self.0.push_str(value.get());
        Ok(())
    }

    fn end(mut self) -> SessionData {
        if self.0.is_empty() {
            return SessionData::empty();
        }
        self.0.push('}');
        SessionData::trusted(self.0.into())
    }
}

/// Are they the same value? The order of keys, white space and the way a text or a number is
/// written make no difference.
///
/// Both come out of [`SessionData`], which bounds how deep they are nested.
fn is_same(one: &RawValue, other: &RawValue) -> bool {
    let (one, other) = (one.get(), other.get());
    if one == other {
        return true;
    }
    match (one.as_bytes().first(), other.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => both::<Members<'_>>(one, other, |one, other| {
            one.values.len() == other.values.len()
                && one
                    .values
                    .iter()
                    .all(|(name, value)| other.get(name).is_some_and(|other| is_same(value, other)))
        }),
        (Some(b'['), Some(b'[')) => both::<Vec<&RawValue>>(one, other, |one, other| {
            one.len() == other.len()
                && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }),
        (Some(b'"'), Some(b'"')) => both::<String>(one, other, |one, other| one == other),
        (Some(b'-' | b'0'..=b'9'), Some(b'-' | b'0'..=b'9')) => is_same_number(one, other),
        _ => false,
    }
}

fn both<'a, T: Deserialize<'a>>(
    one: &'a str,
    other: &'a str,
    is_same: impl FnOnce(&T, &T) -> bool,
) -> bool {
    match (serde_json::from_str(one), serde_json::from_str(other)) {
        (Ok(one), Ok(other)) => is_same(&one, &other),
        _ => false,
    }
}

/// By value: 1 is 1.0, as it is to JavaScript, which writes the one for the other. Whole numbers
/// are compared digit by digit, so that those beyond 64 bits keep all of theirs.
fn is_same_number(one: &str, other: &str) -> bool {
    let is_whole = |text: &str| !text.contains(['.', 'e', 'E']);
    if is_whole(one) && is_whole(other) {
        // Neither has leading zeros: the texts differ, and only zero can be written in two ways.
        return one.trim_start_matches('-') == "0" && other.trim_start_matches('-') == "0";
    }
    match (one.parse::<f64>(), other.parse::<f64>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn data(text: &str) -> SessionData {
        SessionData::parse(text).unwrap()
    }

    fn merge(base: &str, mine: &str, theirs: &str) -> String {
        merged(&data(base), &data(mine), &data(theirs)).unwrap().as_str().to_owned()
    }

    #[test]
    fn what_i_changed_is_put_upon_what_others_stored() {
        assert_eq!(
            merge(r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"b":20,"d":4}"#, r#"{"c":30,"b":2,"a":10}"#),
            r#"{"b":20,"a":10,"d":4}"#
        );
        assert_eq!(merge("{}", "{}", r#"{ "a": [1,  2] }"#), r#"{"a":[1,  2]}"#);
        assert_eq!(merge(r#"{"a":1}"#, "{}", r#"{"a":2}"#), "{}");
        assert_eq!(merge(r#"{"a":1}"#, r#"{"a":1}"#, "{}"), "{}");
        assert_eq!(merge("{}", r#"{"a":1}"#, r#"{"a":2}"#), r#"{"a":1}"#);
    }

    #[test]
    fn another_order_of_keys_is_no_change() {
        let (base, mine) = (
            r#"{"cart":{"items":[{"id":1,"n":2}],"total":3}}"#,
            r#"{"cart": {"total":3, "items":[ {"n":2,"id":1} ]}}"#,
        );
        let theirs = r#"{"cart":{"items":[],"total":0}}"#;
        assert_eq!(merge(base, mine, theirs), theirs);
    }

    #[test]
    fn values_are_compared_by_what_they_are() {
        for (one, other, same) in [
            ("1", "1.0", true),
            ("100", "1e2", true),
            ("-0", "0", true),
            ("0.1", "0.10", true),
            ("1", "2", false),
            ("1", "\"1\"", false),
            ("18446744073709551617", "18446744073709551618", false),
            ("\"\\u00e4\"", "\"ä\"", true),
            ("\"a\"", "\"b\"", false),
            ("[1,2]", "[2,1]", false),
            ("[1,2]", "[1,2,3]", false),
            ("[]", "{}", false),
            ("null", "false", false),
            ("{\"a\":1,\"a\":2}", "{\"a\":2}", true),
            ("{\"a\":1}", "{\"a\":1,\"b\":null}", false),
        ] {
            let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
            assert_eq!(is_same(&raw(one), &raw(other)), same, "{one} {other}");
            assert_eq!(is_same(&raw(other), &raw(one)), same, "{other} {one}");
        }
    }

    fn objects() -> impl Strategy<Value = Map<String, Value>> {
        let value = prop_oneof![
            Just(Value::Null),
            (0..3_i64).prop_map(Value::from),
            prop::collection::vec(0..2_i64, 0..3).prop_map(Value::from),
        ];
        prop::collection::btree_map("[a-d]", value, 0..4)
            .prop_map(|members| members.into_iter().collect())
    }

    proptest! {
        #[test]
        fn every_key_is_mine_where_i_changed_it_and_theirs_elsewhere(
            base in objects(), mine in objects(), theirs in objects()
        ) {
            let of = |object: &Map<String, Value>| SessionData::of(object).unwrap();
            let merged: Map<String, Value> =
                merged(&of(&base), &of(&mine), &of(&theirs)).unwrap().get().unwrap();
            for key in ["a", "b", "c", "d"] {
                let from = if base.get(key) == mine.get(key) { &theirs } else { &mine };
                prop_assert_eq!(merged.get(key), from.get(key));
            }
            prop_assert!(merged.keys().all(|key| theirs.contains_key(key) || mine.contains_key(key)));
        }
    }
}

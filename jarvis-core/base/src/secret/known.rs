//! [`KnownSecrets`]: secret values that no text of this process shows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::REDACTED;
use crate::percent;
use crate::sync::Mutex;

/// Shorter values are not masked: they occur in ordinary words, and masking them would destroy
/// every text.
pub const SHORTEST: usize = 4;

/// What is to be masked in this process, by the [`KnownSecrets`] that hold it.
struct Held {
    sets: BTreeMap<u64, Arc<[Box<str>]>>,
    /// The forms of all sets, the longest first, so that a secret that holds another one is not
    /// left in parts.
    forms: Arc<[Box<str>]>,
    next: u64,
}

static HELD: Mutex<Option<Held>> = Mutex::new(None);

/// Whether there is anything to mask; asked before the lock is taken.
static ANY: AtomicBool = AtomicBool::new(false);

impl Held {
    fn merge(&mut self) {
        let mut forms: Vec<Box<str>> =
            self.sets.values().flat_map(|set| set.iter().cloned()).collect();
        forms.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        forms.dedup();
        ANY.store(!forms.is_empty(), Ordering::Release);
        self.forms = forms.into();
    }
}

/// Secret values that [`mask`] takes out of every text, for as long as a clone of this lives.
///
/// A configuration holds the values that `${env:…}` and `${file:…}` put into it. Errors, check
/// messages, events, alerts and log lines pass through [`mask`] when they are made, whatever
/// produced them. A value of less than [`SHORTEST`] bytes can't be masked without destroying text.
#[derive(Clone, Default)]
pub struct KnownSecrets(Option<Arc<Registration>>);

struct Registration(u64);

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(held) = HELD.lock().as_mut() {
            held.sets.remove(&self.0);
            held.merge();
        }
    }
}

impl KnownSecrets {
    /// Masks these values from now on, also where they are percent-encoded, escaped or on several
    /// lines.
    pub fn new<S: AsRef<str>>(values: impl IntoIterator<Item = S>) -> Self {
        let mut forms: Vec<Box<str>> = Vec::new();
        for value in values {
            forms_of(value.as_ref(), &mut forms);
        }
        if forms.is_empty() {
            return Self::default();
        }
        let mut held = HELD.lock();
        let held = held.get_or_insert_with(|| Held {
            sets: BTreeMap::new(),
            forms: Arc::from([]),
            next: 0,
        });
        let id = held.next;
        held.next += 1;
        held.sets.insert(id, forms.into());
        held.merge();
        Self(Some(Arc::new(Registration(id))))
    }

    /// Is there nothing to mask?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for KnownSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// How a value may appear in a text.
fn forms_of(value: &str, forms: &mut Vec<Box<str>>) {
    if value.len() < SHORTEST {
        return;
    }
    let mut add = |form: String| {
        if form.len() >= SHORTEST && !forms.iter().any(|known| **known == *form) {
            forms.push(form.into());
        }
    };
    add(value.to_owned());
    for keep in percent::COMPONENTS {
        let encoded = percent::encode(value, keep);
        add(lower_hex(&encoded));
        add(encoded.replace("%20", "+"));
        add(encoded);
    }
    add(value.escape_debug().to_string());
    if let Ok(json) = serde_json::to_string(value) {
        add(json.trim_matches('"').to_owned());
    }
    if value.contains(char::is_control) {
        add(value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect());
        value.lines().for_each(|line| add(line.trim().to_owned()));
    }
}

/// The hexadecimal digits of percent-encoding in lower case.
fn lower_hex(encoded: &str) -> String {
    let mut left = 0;
    let lower = encoded.chars().map(|c| {
        if c == '%' {
            left = 2;
            return c;
        }
        let digit = left > 0;
        left = usize::saturating_sub(left, 1);
        if digit { c.to_ascii_lowercase() } else { c }
    });
    lower.collect()
}

/// The text with [`REDACTED`] in the place of every known secret.
#[must_use]
pub fn mask(text: &str) -> Cow<'_, str> {
    if !ANY.load(Ordering::Acquire) {
        return Cow::Borrowed(text);
    }
    let Some(forms) = HELD.lock().as_ref().map(|held| Arc::clone(&held.forms)) else {
        return Cow::Borrowed(text);
    };
    let mut masked = Cow::Borrowed(text);
    for form in forms.iter() {
        if masked.contains(&**form) {
            masked = Cow::Owned(masked.replace(&**form, REDACTED));
        }
    }
    masked
}

/// As [`mask`], for a text that is given away.
#[must_use]
pub fn mask_owned(text: Cow<'static, str>) -> Cow<'static, str> {
    match mask(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(masked) => Cow::Owned(masked),
    }
}

/// The value with [`mask`] on every text in it but those that `keep` wants as they are. `None` where
/// nothing is to be masked.
#[must_use]
pub fn mask_json<T: serde::Serialize>(
    value: &T,
    keep: fn(&str) -> bool,
) -> Option<serde_json::Value> {
    if !ANY.load(Ordering::Acquire) {
        return None;
    }
    let text = serde_json::to_string(value).ok()?;
    if matches!(mask(&text), Cow::Borrowed(_)) {
        return None;
    }
    let mut value = serde_json::from_str(&text).ok()?;
    mask_within(&mut value, keep);
    Some(value)
}

fn mask_within(value: &mut serde_json::Value, keep: fn(&str) -> bool) {
    match value {
        serde_json::Value::String(text) if !keep(text) => {
            if let Cow::Owned(masked) = mask(text) {
                *text = masked;
            }
        }
        serde_json::Value::Array(items) => {
            items.iter_mut().for_each(|item| mask_within(item, keep));
        }
        serde_json::Value::Object(entries) => {
            entries.values_mut().for_each(|value| mask_within(value, keep));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_masked_in_every_form_while_it_is_known() {
        let known = KnownSecrets::new(["hun@ter/two#x%"]);
        for text in [
            "login hun@ter/two#x% failed",
            "redis://:hun%40ter%2Ftwo%23x%25@h failed",
            "redis://:hun%40ter%2ftwo%23x%25@h failed",
            "https://h/hun%40ter/two%23x%25 failed",
        ] {
            let shown = mask(text);
            assert!(shown.contains(REDACTED) && shown.contains("failed"), "{shown}");
            assert!(!shown.contains("ter") && !shown.contains("two"), "{shown}");
        }
        let clone = known.clone();
        drop(known);
        assert!(matches!(mask("hun@ter/two#x%"), Cow::Owned(_)), "a clone keeps it known");
        drop(clone);
        assert_eq!(mask("hun@ter/two#x%"), "hun@ter/two#x%");
    }

    #[test]
    fn quotes_and_lines_of_a_value_are_masked() {
        let _known = KnownSecrets::new(["say \"ahoi\"\nand go"]);
        for text in [
            format!("{:?}", "x say \"ahoi\"\nand go y"),
            serde_json::to_string("say \"ahoi\"\nand go").unwrap(),
            "say \"ahoi\" and go".to_owned(),
            "the line say \"ahoi\" alone".to_owned(),
        ] {
            assert!(!mask(&text).contains("ahoi"), "{}", mask(&text));
        }
    }

    #[test]
    fn a_longer_secret_is_not_left_in_parts_and_a_short_one_is_left() {
        let _one = KnownSecrets::new(["swordfish"]);
        let _two = KnownSecrets::new(["swordfish-and-more", "abc"]);
        assert_eq!(mask("swordfish-and-more, swordfish, abc"), "[redacted], [redacted], abc");
    }

    #[test]
    fn texts_within_a_value_are_masked() {
        let _known = KnownSecrets::new(["quite-secret"]);
        let masked =
            mask_json(&serde_json::json!({ "a": ["x quite-secret", 3] }), |_| false).unwrap();
        assert_eq!(masked, serde_json::json!({ "a": ["x [redacted]", 3] }));
        assert!(mask_json(&"harmless", |_| false).is_none());
    }
}

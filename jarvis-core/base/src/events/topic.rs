//! Topics of events: JARVIS's own ([`Topic`]), those of applications, and patterns.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, ErrorKind, Result};

/// The longest name of a topic, and the longest pattern, in bytes.
pub const MAX_TOPIC: usize = 128;

/// What an event is about: one of JARVIS's own topics, or one of an application.
///
/// Serialised as its word: `"health"`, `"project.42.chat"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Topic {
    /// Services and the platform change their state.
    Health,
    /// Incidents open, escalate, recover, resolve.
    Incident,
    /// Actions are held, begun, done, verified.
    Action,
    /// The operator itself: start, stop, lease, switches, configuration.
    Operator,
    /// Alerts go out or fail to.
    Alert,
    /// A topic of the application, or one that only a newer JARVIS knows.
    Named(TopicName),
}

impl Topic {
    /// JARVIS's own topics.
    pub const ALL: &'static [Self] =
        &[Self::Health, Self::Incident, Self::Action, Self::Operator, Self::Alert];

    /// The stable word, as it is serialised.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Health => "health",
            Self::Incident => "incident",
            Self::Action => "action",
            Self::Operator => "operator",
            Self::Alert => "alert",
            Self::Named(name) => name.as_str(),
        }
    }

    fn of_word(word: &str) -> Result<Self> {
        match Self::ALL.iter().find(|topic| topic.as_str() == word) {
            Some(topic) => Ok(topic.clone()),
            None => check("topic", word, false).map(|()| Self::Named(TopicName(word.into()))),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Topic {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        Self::of_word(word)
    }
}

impl Serialize for Topic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::of_word(&word).map_err(|error| serde::de::Error::custom(error.message()))
    }
}

/// Names a topic of an application: `user_activity`, `project.42.chat`.
///
/// Segments of ASCII letters, digits, `-`, `_` and `:`, joined by `.`; 1 to 128 bytes. JARVIS's
/// own words ([`Topic::ALL`], `jarvis` and all that begins with `jarvis.`) are reserved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// A name from its text.
    ///
    /// # Errors
    /// `InvalidInput`, saying what is allowed, or that the word is reserved.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        check("topic", text, false)?;
        let first = text.split('.').next().unwrap_or_default();
        if first == "jarvis" || Topic::ALL.iter().any(|topic| topic.as_str() == text) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "the topic {text:?} is reserved for JARVIS's own events; choose another name, such as `app.{text}`"
                ),
            ));
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for TopicName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for TopicName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(text).map_err(|error| serde::de::Error::custom(error.message()))
    }
}

/// Which topics: a topic, or a pattern such as `project.*.chat` or `project.**`.
///
/// `*` stands for any characters within one segment, `**` for any characters at all, dots
/// included. 1 to 128 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct TopicPattern(Arc<str>);

impl TopicPattern {
    /// A pattern from its text.
    ///
    /// # Errors
    /// `InvalidInput`, saying what is allowed.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        check("topic pattern", text, true)?;
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Is the topic one of these?
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        if self.0.contains('*') {
            glob(self.0.as_bytes(), topic.as_str().as_bytes())
        } else {
            *self.0 == *topic.as_str()
        }
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<Topic> for TopicPattern {
    fn from(topic: Topic) -> Self {
        Self(topic.as_str().into())
    }
}

impl From<TopicName> for TopicPattern {
    fn from(name: TopicName) -> Self {
        Self(name.0)
    }
}

impl FromStr for TopicPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for TopicPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(text).map_err(|error| serde::de::Error::custom(error.message()))
    }
}

fn check(what: &str, text: &str, stars: bool) -> Result<()> {
    let good = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b':')
            || (stars && byte == b'*')
    };
    let segments = |text: &str| {
        text.split('.').all(|segment| !segment.is_empty() && segment.bytes().all(good))
    };
    if text.len() <= MAX_TOPIC && segments(text) {
        return Ok(());
    }
    let star = if stars { ", '*'" } else { "" };
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!(
            "{text:?} is not a valid {what}: use 1 to {MAX_TOPIC} letters, digits, '-', '_', ':'{star}, in segments joined by '.'"
        ),
    ))
}

/// Walks all ways through the pattern at once, so that no pattern takes more than
/// `pattern × text` steps.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let mut at = [false; MAX_TOPIC + 1];
    let mut next;
    reach(pattern, &mut at, 0);
    for &byte in text {
        next = [false; MAX_TOPIC + 1];
        for place in (0..pattern.len()).filter(|place| at[*place]) {
            match pattern[place] {
                b'*' if is_double(pattern, place) => reach(pattern, &mut next, place),
                b'*' if byte != b'.' => reach(pattern, &mut next, place),
                literal if literal == byte => reach(pattern, &mut next, place + 1),
                _ => {}
            }
        }
        at = next;
    }
    at[pattern.len()]
}

/// Is the star at `place` the first of two?
fn is_double(pattern: &[u8], place: usize) -> bool {
    pattern.get(place + 1) == Some(&b'*')
}

/// Marks `place`, and what is behind the stars there, which may stand for nothing.
fn reach(pattern: &[u8], at: &mut [bool; MAX_TOPIC + 1], mut place: usize) {
    at[place] = true;
    while pattern.get(place) == Some(&b'*') {
        place += if is_double(pattern, place) { 2 } else { 1 };
        at[place] = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, topic: &str) -> bool {
        TopicPattern::new(pattern).unwrap().matches(&topic.parse().unwrap())
    }

    #[test]
    fn names_are_checked_and_own_words_reserved() {
        for good in ["a", "user_activity", "chat:stream", "project.42.chat", "healthy", "x.health"]
        {
            assert_eq!(TopicName::new(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(MAX_TOPIC + 1);
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a*", "ä", "a\n", &long] {
            assert!(TopicName::new(bad).is_err(), "{bad:?}");
        }
        for reserved in ["health", "alert", "jarvis", "jarvis.anything"] {
            let error = TopicName::new(reserved).unwrap_err();
            assert!(error.message().contains("JARVIS's own"), "{error}");
            assert!(reserved.parse::<Topic>().is_ok(), "a newer JARVIS may speak of {reserved}");
        }
    }

    #[test]
    fn stars_stand_for_a_part_of_a_segment_or_for_everything() {
        assert!(matches("project.42.chat", "project.42.chat"));
        assert!(!matches("project.42.chat", "project.42.chats"));
        assert!(matches("project.*.chat", "project.42.chat"));
        assert!(!matches("project.*.chat", "project.4.2.chat"));
        assert!(!matches("project.*", "project.42.chat"));
        assert!(matches("project.**", "project.42.chat"));
        assert!(matches("**.chat", "project.42.chat"));
        assert!(matches("pro*.4*2.**t", "project.42.chat"));
        assert!(matches("**", "health"));
        assert!(matches("*", "health"));
        assert!(!matches("*", "project.42"));
        assert!(matches("heal*th", "health"));
        assert!(!matches("**.x", "health"));
    }

    #[test]
    fn topics_are_their_words() {
        for topic in Topic::ALL.iter().cloned().chain(["project.42".parse().unwrap()]) {
            let word = serde_json::to_string(&topic).unwrap();
            assert_eq!(word, format!("{:?}", topic.as_str()));
            assert_eq!(serde_json::from_str::<Topic>(&word).unwrap(), topic);
        }
    }

    /// The same language, slowly: by all ways to cut the text.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| slow(rest, &text[at..])),
            [b'*', rest @ ..] => (0..=text.len())
                .take_while(|at| !text[..*at].contains(&b'.'))
                .any(|at| slow(rest, &text[at..])),
            [byte, rest @ ..] => text.first() == Some(byte) && slow(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn the_quick_matcher_agrees_with_the_slow_one(
            pattern in "[ab*]{1,4}(\\.[ab*]{1,4}){0,2}", topic in "[ab]{1,3}(\\.[ab]{1,3}){0,2}",
        ) {
            prop_assert_eq!(matches(&pattern, &topic), slow(pattern.as_bytes(), topic.as_bytes()));
        }
    }
}

//! Reads [`Node`]s into serde types, so that an error knows the place and the path of its value.

use std::path::{Path, PathBuf};

use serde::de::{self, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};

use super::node::{Entry, Node, Table, Text, Value, join};
use super::problem::Origin;
use super::stores::StoreUrl;
use base::vocabulary::ConfigPath;

/// Why a value could not be decoded; the callers add the place and the keys on the way up.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct DecodeError {
    pub(crate) message: String,
    pub(crate) unknown: Option<Box<Unknown>>,
    pub(crate) missing: Option<&'static str>,
    /// The innermost place.
    pub(crate) origin: Option<Origin>,
    /// The keys on the way, innermost first.
    pub(crate) keys: Vec<Key>,
}

/// A name that is none of those that were expected.
#[derive(Debug)]
pub(crate) struct Unknown {
    pub(crate) name: String,
    pub(crate) expected: &'static [&'static str],
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Key {
    Name(String),
    Index(usize),
}

impl DecodeError {
    fn new(message: String) -> Self {
        Self { message, unknown: None, missing: None, origin: None, keys: Vec::new() }
    }

    fn at(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    fn under(mut self, key: Key) -> Self {
        self.keys.push(key);
        self
    }

    /// `base` with the keys of this error.
    pub(crate) fn path(&self, base: &str) -> String {
        self.keys.iter().rev().fold(base.to_owned(), |path, key| match key {
            Key::Name(name) => join(&path, name),
            Key::Index(index) => format!("{path}[{index}]"),
        })
    }
}

impl de::Error for DecodeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("{expected} is expected, not {unexpected}"))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("{expected} is expected, not {unexpected}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let mut error = Self::new(String::new());
        error.unknown = Some(Box::new(Unknown { name: variant.to_owned(), expected }));
        error.message = "variant".to_owned();
        error
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let mut error = Self::new("key".to_owned());
        error.unknown = Some(Box::new(Unknown { name: field.to_owned(), expected }));
        error
    }

    fn missing_field(field: &'static str) -> Self {
        let mut error = Self::new(format!("the key {field:?} is missing"));
        error.missing = Some(field);
        error
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("the key {field:?} is there twice"))
    }
}

type Result<T> = std::result::Result<T, DecodeError>;

/// Reads a node. The folders are those of the files, in the order in which they were read.
#[derive(Clone, Copy)]
pub(crate) struct NodeDeserializer<'a>(pub(crate) &'a Node, pub(crate) &'a [PathBuf]);

impl<'a> NodeDeserializer<'a> {
    /// A string of an environment variable stands for any scalar; elsewhere types are strict.
    fn loose(&self) -> Option<&'a Text> {
        self.0.as_text().filter(|_| self.0.origin.line().is_none())
    }

    /// A path, relative to the folder of the file that the value is written in.
    fn resolved(&self, path: &str) -> Result<String> {
        let (order, _) = self.0.origin.position();
        let folder = usize::try_from(order).ok().and_then(|order| self.1.get(order));
        let Some(folder) = folder.filter(|_| Path::new(path).is_relative()) else {
            return Ok(path.to_owned());
        };
        folder.join(path).into_os_string().into_string().map_err(|_| {
            let folder = folder.display();
            let message = format!("the folder {folder} is not UTF-8; write an absolute path");
            de::Error::custom(message)
        })
    }

    /// The text of a type that holds a path: [`ConfigPath`] and [`StoreUrl`].
    fn path_in(&self, type_name: &str) -> Option<Result<String>> {
        let text = &self.0.as_text()?.value;
        match type_name {
            ConfigPath::NAME => Some(self.resolved(text)),
            StoreUrl::NAME => {
                let path = text.strip_prefix(StoreUrl::FILE).filter(|path| !path.is_empty())?;
                let resolved = self.resolved(path);
                Some(resolved.map(|path| format!("{}{path}", StoreUrl::FILE)))
            }
            _ => None,
        }
    }

    fn parsed<T: std::str::FromStr>(&self) -> Option<T> {
        self.loose()?.value.trim().parse().ok()
    }
}

macro_rules! loose_numbers {
    ($($method:ident $visit:ident $type:ty),+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            match self.parsed::<$type>() {
                Some(number) => visitor.$visit(number).map_err(|error: DecodeError| error.at(&self.0.origin)),
                None => self.deserialize_any(visitor),
            }
        }
    )+};
}

impl<'de> de::Deserializer<'de> for NodeDeserializer<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let result = match &self.0.value {
            Value::Text(text) => visitor.visit_borrowed_str(&text.value),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Array(items) => {
                visitor.visit_seq(Items { items: items.iter(), index: 0, folders: self.1 })
            }
            Value::Table(table) => visitor.visit_map(Entries::new(table, self.1)),
        };
        result.map_err(|error| error.at(&self.0.origin))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        let result = match self.path_in(name) {
            Some(path) => path.and_then(|path| {
                let path: de::value::StringDeserializer<DecodeError> = path.into_deserializer();
                visitor.visit_newtype_struct(path)
            }),
            None => return visitor.visit_newtype_struct(self),
        };
        result.map_err(|error| error.at(&self.0.origin))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let result = match &self.0.value {
            Value::Text(text) => visitor.visit_enum(text.value.as_str().into_deserializer()),
            Value::Table(table) => visitor
                .visit_enum(de::value::MapAccessDeserializer::new(Entries::new(table, self.1))),
            _ => return self.deserialize_any(visitor),
        };
        result.map_err(|error| error.at(&self.0.origin))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.parsed::<bool>() {
            Some(truth) => visitor.visit_bool(truth),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match (self.parsed::<f64>(), &self.0.value) {
            (Some(number), _) => visitor.visit_f64(number),
            #[expect(
                clippy::cast_precision_loss,
                reason = "a configuration's whole numbers are small"
            )]
            (None, Value::Integer(number)) => visitor.visit_f64(*number as f64),
            _ => self.deserialize_any(visitor),
        }
    }

    loose_numbers! {
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u128 f32 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Node>,
    index: usize,
    folders: &'a [PathBuf],
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some(node) = self.items.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(NodeDeserializer(node, self.folders))
            .map(Some)
            .map_err(|error| error.at(&node.origin).under(Key::Index(index)))
    }
}

struct Entries<'a> {
    entries: std::collections::btree_map::Iter<'a, String, Entry>,
    current: Option<(&'a str, &'a Entry)>,
    folders: &'a [PathBuf],
}

impl<'a> Entries<'a> {
    fn new(table: &'a Table, folders: &'a [PathBuf]) -> Self {
        Self { entries: table.iter(), current: None, folders }
    }
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let Some((key, entry)) = self.entries.next() else { return Ok(None) };
        self.current = Some((key, entry));
        seed.deserialize(de::value::BorrowedStrDeserializer::new(key))
            .map(Some)
            .map_err(|error: DecodeError| error.at(&entry.key).under(Key::Name(key.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        let Some((key, entry)) = self.current.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(NodeDeserializer(&entry.node, self.folders)).map_err(
            |error: DecodeError| error.at(&entry.node.origin).under(Key::Name(key.to_owned())),
        )
    }
}

/// The keys that a struct reads, asked of its `Deserialize` itself.
pub(crate) fn keys_of<'de, T: de::Deserialize<'de>>() -> &'static [&'static str] {
    struct Ask<'a>(&'a mut &'static [&'static str]);

    impl<'de> de::Deserializer<'de> for Ask<'_> {
        type Error = DecodeError;

        fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value> {
            Err(de::Error::custom("only the keys are asked for"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _name: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }

    let mut keys: &'static [&'static str] = &[];
    // The answer is in `keys`; the call itself always ends in the error above.
    drop(T::deserialize(Ask(&mut keys)));
    keys
}

//! [`ConfigPath`]: a path in a configuration.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A path that a configuration may name.
///
/// Read from a file, a relative path is relative to the folder of the file that it is written in,
/// which may be an included one. Built in code, it is taken as it is.
///
/// ```
/// use jarvis_core::vocabulary::ConfigPath;
///
/// let path = ConfigPath::from("certificates/ca.pem");
/// assert_eq!(path.display().to_string(), "certificates/ca.pem");
/// ```
// The name of the type is what the configuration's deserialiser recognises: see `NAME`.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConfigPath(PathBuf);

impl ConfigPath {
    /// The name under which serde presents this type to a deserialiser.
    pub const NAME: &'static str = "ConfigPath";

    /// The path itself.
    #[must_use]
    pub fn into_path_buf(self) -> PathBuf {
        self.0
    }
}

impl Deref for ConfigPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for ConfigPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl From<PathBuf> for ConfigPath {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl From<&Path> for ConfigPath {
    fn from(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl From<&PathBuf> for ConfigPath {
    fn from(path: &PathBuf) -> Self {
        Self(path.clone())
    }
}

impl From<String> for ConfigPath {
    fn from(path: String) -> Self {
        Self(path.into())
    }
}

impl From<&str> for ConfigPath {
    fn from(path: &str) -> Self {
        Self(path.into())
    }
}

impl fmt::Debug for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_configuration_it_is_taken_as_it_is() {
        let path: ConfigPath = serde_json::from_str("\"x/ca.pem\"").unwrap();
        assert_eq!(&*path, Path::new("x/ca.pem"));
        assert_eq!(serde_json::to_string(&path).unwrap(), "\"x/ca.pem\"");
    }

    #[test]
    fn serde_presents_it_by_its_name() {
        struct Ask;
        impl<'de> serde::Deserializer<'de> for Ask {
            type Error = serde::de::value::Error;
            fn deserialize_any<V: serde::de::Visitor<'de>>(
                self,
                _: V,
            ) -> Result<V::Value, Self::Error> {
                Err(serde::de::Error::custom("another type"))
            }
            fn deserialize_newtype_struct<V: serde::de::Visitor<'de>>(
                self,
                name: &'static str,
                visitor: V,
            ) -> Result<V::Value, Self::Error> {
                use serde::de::IntoDeserializer as _;
                visitor.visit_newtype_struct(name.into_deserializer())
            }
            serde::forward_to_deserialize_any! {
                bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
                option unit unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
            }
        }
        assert_eq!(&*ConfigPath::deserialize(Ask).unwrap(), Path::new(ConfigPath::NAME));
    }
}

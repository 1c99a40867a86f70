//! What is wrong with a configuration: [`Problem`]s, all of them at once, in a [`Report`].

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use base::names::{self, Unknown};
use base::secret::mask;
use base::{Error, ErrorKind};

/// Where a value was written: a file with its line, an environment variable, or nowhere (built in).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    file: Arc<str>,
    line: u32,
    /// In which order the files were read; orders services as a person wrote them.
    order: u32,
}

impl Origin {
    /// A line (from 1) of a file.
    pub(crate) fn new(file: Arc<str>, line: u32, order: u32) -> Self {
        Self { file, line, order }
    }

    /// A place that has no lines, such as `environment variable JARVIS_LIMITS__WINDOW`.
    pub(crate) fn named(place: &str) -> Self {
        Self { file: place.into(), line: 0, order: 0 }
    }

    /// The file, or what stands in its place.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, from 1; absent where there are no lines.
    #[must_use]
    pub fn line(&self) -> Option<u32> {
        (self.line > 0).then_some(self.line)
    }

    pub(crate) fn position(&self) -> (u32, u32) {
        (self.order, self.line)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line() {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// The configuration is not used.
    Error,
    /// It is used; somebody should look at it.
    Warning,
}

/// One thing that is wrong, where it is, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// Error or warning.
    pub weight: Weight,
    /// The file, or what stands in its place.
    pub file: String,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The key with its tables: `service.api.check[0].interval`. Empty for a whole file.
    pub key: String,
    /// What is wrong and what to do. No secret is in it.
    pub message: String,
    /// The nearest valid name, when what was written looks like a slip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did_you_mean: Option<String>,
}

impl Problem {
    /// An error at that place.
    #[must_use]
    pub fn error(origin: &Origin, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            weight: Weight::Error,
            file: origin.file().to_owned(),
            line: origin.line(),
            key: key.into(),
            message: mask(&message.into()).into_owned(),
            did_you_mean: None,
        }
    }

    /// A warning at that place.
    #[must_use]
    pub fn warning(origin: &Origin, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { weight: Weight::Warning, ..Self::error(origin, key, message) }
    }

    /// A name that does not exist, with the nearest that does and the list of all.
    pub(crate) fn unknown<S: AsRef<str>>(
        origin: &Origin,
        key: impl Into<String>,
        what: &str,
        written: &str,
        known: &[S],
    ) -> Self {
        let Unknown { message, nearest } = names::unknown(what, written, known);
        Self { did_you_mean: nearest, ..Self::error(origin, key, message) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if self.weight == Weight::Warning {
            f.write_str(": warning")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Everything that was found, in the order of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Report {
    /// The problems.
    pub problems: Vec<Problem>,
}

impl From<Vec<Problem>> for Report {
    fn from(problems: Vec<Problem>) -> Self {
        Self { problems }
    }
}

impl Report {
    /// Adds a problem, unless exactly it is there already.
    pub fn push(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Takes over the problems of another report.
    pub fn extend(&mut self, other: Self) {
        for problem in other.problems {
            self.push(problem);
        }
    }

    /// Those for which the configuration is refused.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.weight == Weight::Error)
    }

    /// Those that somebody should look at.
    pub fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.weight == Weight::Warning)
    }

    /// Is there an error?
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.errors().next().is_some()
    }

    /// What an [`Error`] of this crate carries, whether it holds a report or not.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        std::error::Error::source(error)?.downcast_ref::<Self>()
    }

    /// As an [`Error`]: the message is the first error and the count of the others; the report is
    /// its source.
    #[must_use]
    pub fn into_error(self) -> Error {
        let mut errors = self.errors();
        let first = errors.next().map_or_else(|| "nothing is wrong".to_owned(), Problem::to_string);
        let message = match errors.count() {
            0 => first,
            1 => format!("{first} (and 1 more error)"),
            more => format!("{first} (and {more} more errors)"),
        };
        Error::new(ErrorKind::ConfigInvalid, message).with_source(self)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_first_and_counts_the_rest() {
        let origin = Origin::new("jarvis.toml".into(), 3, 0);
        let mut report = Report::default();
        report.push(Problem::unknown(&origin, "limits.windw", "key", "windw", &["window"]));
        report.push(Problem::warning(&origin, "", "be careful"));
        report.push(Problem::error(&origin, "limits", "worse"));
        let error = report.clone().into_error();
        assert_eq!(
            error.to_string(),
            "jarvis.toml:3: limits.windw: unknown key \"windw\", did you mean \"window\"? Valid keys: window (and 1 more error)"
        );
        assert_eq!(Report::of(&error), Some(&report));
    }
}

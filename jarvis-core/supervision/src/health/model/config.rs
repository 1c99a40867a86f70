//! The configuration of the model probe.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};

use serde::{Deserialize, Serialize};

use crate::health::tls::TlsOptions;
use base::secret::{redact_url, serialize_redacted};
use base::{Secret, Usd};

/// `type = "model"`.
///
/// ```toml
/// type = "model"
/// base_url = "https://api.example.com/v1"
/// api_key = "${env:API_KEY}"
/// model = "small"
/// probe = "completion"
/// input_price = "0.15"        # dollars for a million tokens
/// output_price = "0.60"
/// max_cost_per_day = "0.05"
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ModelConfig {
    /// The URL that `/models` and `/chat/completions` come after, usually ending in `/v1`.
    #[serde(serialize_with = "serialize_redacted")]
    pub base_url: String,
    /// The model's name as the provider lists it.
    pub model: String,
    /// The key, sent as a bearer token. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret<String>>,
    /// More request headers. Their values are never shown. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret<String>>,
    /// `list` (default): the model is listed and loaded. `completion`: it says a word.
    #[serde(default)]
    pub probe: ModelDepth,
    /// What it is asked. Default `ping`.
    #[serde(default = "prompt")]
    pub prompt: String,
    /// How many tokens it may answer. Default 1.
    #[serde(default = "one")]
    pub max_tokens: u32,
    /// Dollars for a million tokens of the question. Needed for `max_cost_per_day`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_price: Option<Usd>,
    /// Dollars for a million tokens of the answer. Needed for `max_cost_per_day`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_price: Option<Usd>,
    /// The most that completions may cost in a day (UTC), by the most tokens that they can have.
    /// Then the probe goes on with `list` and says so. The count starts anew with the process.
    /// Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_per_day: Option<Usd>,
    /// Certificates.
    #[serde(default)]
    pub tls: TlsOptions,
}

/// How far a [`ModelProbe`](super::ModelProbe) goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ModelDepth {
    /// Looks for the model in the list. Costs nothing.
    #[default]
    List,
    /// Lets it answer, and takes the time to the first token.
    Completion,
}

impl ModelConfig {
    /// Looks for this model in the list of this provider.
    #[must_use]
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            api_key: None,
            headers: BTreeMap::new(),
            probe: ModelDepth::List,
            prompt: prompt(),
            max_tokens: 1,
            input_price: None,
            output_price: None,
            max_cost_per_day: None,
            tls: TlsOptions::default(),
        }
    }

    /// Sends this key.
    #[must_use]
    pub fn with_api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(Secret::new(key.into()));
        self
    }

    /// Lets it answer.
    #[must_use]
    pub const fn with_completion(mut self) -> Self {
        self.probe = ModelDepth::Completion;
        self
    }

    /// Limits what completions may cost in a day, at these prices for a million tokens.
    #[must_use]
    pub const fn with_max_cost_per_day(mut self, most: Usd, input: Usd, output: Usd) -> Self {
        self.max_cost_per_day = Some(most);
        self.input_price = Some(input);
        self.output_price = Some(output);
        self
    }
}

impl Debug for ModelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelConfig")
            .field("base_url", &redact_url(&self.base_url))
            .field("model", &self.model)
            .field("probe", &self.probe)
            .field("max_cost_per_day", &self.max_cost_per_day)
            .finish_non_exhaustive()
    }
}

fn prompt() -> String {
    "ping".to_owned()
}

const fn one() -> u32 {
    1
}

#![doc = include_str!("../../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod clock;
pub mod error;
pub mod money;
pub mod resilience;
pub mod secret;
#[doc(hidden)]
pub mod sync;
mod text;
pub mod units;
pub mod vocabulary;

pub mod events;
pub mod hosted;
mod net;
pub mod store;
// Floor 1 too: running programs, for the probes, restarters and sinks that do.
mod subprocess;

pub mod cache;
pub mod health;
pub mod lease;
pub mod restart;
pub mod session;

pub mod alert;
pub mod layers;
pub mod operator;

pub mod config;
pub mod docs;
pub mod jarvis;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod registry;

#[cfg(feature = "testkit")]
#[cfg_attr(docsrs, doc(cfg(feature = "testkit")))]
pub mod testkit;

pub use error::{Error, ErrorKind, Result, Retry};
pub use jarvis::{Jarvis, JarvisBuilder};
pub use money::{PicoPrice, Usd};
pub use secret::Secret;

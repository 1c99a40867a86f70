#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod config;
pub mod control;
pub mod docs;
pub mod jarvis;
pub mod layers;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod registry;
pub mod web;

#[cfg(feature = "testkit")]
#[cfg_attr(docsrs, doc(cfg(feature = "testkit")))]
pub mod testkit;

#[doc(inline)]
pub use base::{clock, error, events, hosted, money, resilience, secret, store, units, vocabulary};
#[doc(inline)]
pub use state::{cache, session};
#[doc(inline)]
pub use supervision::{alert, health, lease, operator, restart};

#[doc(hidden)]
pub use base::sync;

pub use base::{Error, ErrorKind, PicoPrice, Result, Retry, Secret, Usd};
pub use jarvis::{Jarvis, JarvisBuilder};

//! The guide, the faults, and the decision records.

#[doc = include_str!("docs/guide.md")]
pub mod guide {}

#[doc = include_str!("docs/faults.md")]
pub mod faults {}

/// Why it is built the way it is.
pub mod decisions {
    #[doc = include_str!("docs/adr/0001_one_crate.md")]
    pub mod adr_0001_one_crate {}
    #[doc = include_str!("docs/adr/0002_pure_decisions.md")]
    pub mod adr_0002_pure_decisions {}
    #[doc = include_str!("docs/adr/0003_one_ledger.md")]
    pub mod adr_0003_one_ledger {}
    #[doc = include_str!("docs/adr/0004_sqlite.md")]
    pub mod adr_0004_sqlite {}
    #[doc = include_str!("docs/adr/0005_probes_speak_for_themselves.md")]
    pub mod adr_0005_probes_speak_for_themselves {}
    #[doc = include_str!("docs/adr/0006_one_crypto_provider.md")]
    pub mod adr_0006_one_crypto_provider {}
    #[doc = include_str!("docs/adr/0007_events_only_accelerate.md")]
    pub mod adr_0007_events_only_accelerate {}
    #[doc = include_str!("docs/adr/0008_at_least_once.md")]
    pub mod adr_0008_at_least_once {}
    #[doc = include_str!("docs/adr/0009_linux.md")]
    pub mod adr_0009_linux {}
    #[doc = include_str!("docs/adr/0010_no_unsafe_code.md")]
    pub mod adr_0010_no_unsafe_code {}
    #[doc = include_str!("docs/adr/0011_redis_client.md")]
    pub mod adr_0011_redis_client {}
    #[doc = include_str!("docs/adr/0012_python_bridge.md")]
    pub mod adr_0012_python_bridge {}
    #[doc = include_str!("docs/adr/0013_node_bridge.md")]
    pub mod adr_0013_node_bridge {}
    #[doc = include_str!("docs/adr/0014_sessions_in_redis.md")]
    pub mod adr_0014_sessions_in_redis {}
}

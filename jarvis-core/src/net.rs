//! The only home of sockets, name resolution, TLS and HTTP.

pub(crate) mod address;
#[cfg(feature = "http")]
pub(crate) mod client;
pub(crate) mod connect;
#[cfg(feature = "http")]
pub(crate) mod exchange;
pub(crate) mod resolve;
pub(crate) mod timing;
#[cfg(feature = "tls")]
pub(crate) mod tls;

//! The only home of sockets, name resolution, TLS and HTTP.

pub mod address;
#[cfg(feature = "http")]
pub mod client;
pub mod connect;
#[cfg(feature = "http")]
pub mod exchange;
pub mod resolve;
pub mod stream;
pub mod timing;
#[cfg(feature = "tls")]
pub mod tls;

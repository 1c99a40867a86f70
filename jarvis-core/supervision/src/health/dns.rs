//! `type = "dns"`: does a name resolve here, and to where it should?

mod probe;

pub use probe::{DnsConfig, DnsProbe};

pub use base::net::resolve::{Lookup, Resolver, SystemLookup};

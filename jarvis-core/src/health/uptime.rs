//! How much of the time was it well, how fast did it answer, how often did it fail?

mod histogram;

pub use histogram::Histogram;

//! Child processes: programs as argument vectors, a process group of their own, a pidfd to wait
//! on, output that is bounded. Shared by the probes, restarters and sinks that run programs.
//!
//! Nothing here is passed to a shell, and no number of a process is ever trusted: signals go
//! through a pidfd, which names one process for good, or to a group whose leader we have not
//! reaped yet, so that the kernel can't have given the number away.

#[cfg(feature = "process")]
mod account;
mod pidfd;
#[cfg(feature = "process")]
pub mod procfs;
mod program;
mod run;

#[cfg(feature = "process")]
pub use account::account;
pub use pidfd::Pidfd;
pub use program::Program;
pub use run::bounded_lines;
pub use run::{Finished, Leftovers, run};

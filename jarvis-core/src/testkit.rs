//! Conformance cases: what every backend of a trait has to keep, as code that anybody can run.
//!
//! Each trait has a module with an *environment* (how a case gets at the backend under test) and
//! a list of [`Case`]s, one or more for each `# Behavior` bullet of the trait. A case panics, or
//! gives the backend's error, when a promise is broken. To test a backend of your own, implement
//! the environment for it, and run each case of the list against a fresh one:
//!
//! ```
//! use std::sync::Arc;
//! use jarvis_core::clock::ManualClock;
//! use jarvis_core::lease::{Lease, MemoryLease};
//! use jarvis_core::testkit::lease::{self, LeaseEnv};
//! # use std::time::Duration;
//!
//! #[derive(Debug)]
//! struct Mine(ManualClock, MemoryLease);
//!
//! #[async_trait::async_trait]
//! impl LeaseEnv for Mine {
//!     async fn open(&self) -> jarvis_core::Result<Arc<dyn Lease>> {
//!         Ok(Arc::new(self.1.clone()))
//!     }
//!
//!     async fn pass(&self, duration: Duration) {
//!         self.0.advance(duration);
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! for case in lease::CASES {
//!     let clock = ManualClock::new();
//!     let env = Mine(clock.clone(), MemoryLease::new(Arc::new(clock)));
//!     case.run(&env).await.unwrap_or_else(|error| panic!("{}: {error}", case.name()));
//! }
//! # });
//! ```

#![expect(clippy::panic, reason = "a case reports a broken promise as a test does")]

pub mod alert;
pub mod bus;
pub mod cache;
pub mod health;
pub mod lease;
pub mod ledger;
#[cfg(feature = "redis")]
pub mod redis;
pub mod restart;
#[cfg(feature = "sqlite")]
pub mod rows;
pub mod session;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use base::Result;

/// What a case returns while it runs.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// One promise, checked against an environment `E`.
pub struct Case<E: ?Sized + 'static> {
    name: &'static str,
    run: for<'a> fn(&'a E) -> Running<'a>,
}

impl<E: ?Sized> Case<E> {
    /// A case. The name says what is promised, as a function name.
    #[must_use]
    pub const fn new(name: &'static str, run: for<'a> fn(&'a E) -> Running<'a>) -> Self {
        Self { name, run }
    }

    /// The promise, as a function name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it against a fresh environment.
    ///
    /// # Errors
    /// The backend's, where the case expects none.
    ///
    /// # Panics
    /// When the promise is broken.
    pub async fn run(&self, env: &E) -> Result<()> {
        (self.run)(env).await
    }
}

impl<E: ?Sized> fmt::Debug for Case<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The list of cases `pub const CASES: &[Case<dyn Env>]` from functions
/// `async fn name(env: &dyn Env) -> Result<()>`.
macro_rules! cases {
    ($env:ty: $($case:ident),+ $(,)?) => {
        /// Every case of this trait.
        pub const CASES: &[$crate::testkit::Case<$env>] = &[
            $($crate::testkit::Case::new(stringify!($case), |env| Box::pin($case(env)))),+
        ];
    };
}
pub(crate) use cases;

//! Many callers at once, each waiting for one answer before it asks again.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::{Failure, Spread};

/// Operations a second of `callers`, each calling `operation` with its number for that long.
///
/// # Errors
/// The first that an operation gives.
#[expect(clippy::disallowed_methods, reason = "real time is what is measured")]
pub async fn pace<F, O>(callers: usize, length: Duration, operation: F) -> Result<f64, Failure>
where
    F: Fn(usize) -> O + Send + Sync + 'static,
    O: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (operation, began) = (Arc::new(operation), Instant::now());
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let operation = Arc::clone(&operation);
        tasks.spawn(async move {
            let mut done = 0_u64;
            while began.elapsed() < length {
                operation(caller).await?;
                done += 1;
            }
            Ok::<_, Failure>(done)
        });
    }
    let mut done = 0;
    while let Some(each) = tasks.join_next().await {
        done += each??;
    }
    Ok(done as f64 / began.elapsed().as_secs_f64())
}

/// The paces of one contender, one a round.
#[derive(Debug, Default)]
pub struct Paces(pub Vec<f64>);

impl Paces {
    /// Prints the contender's line.
    #[expect(clippy::print_stdout, reason = "a bench talks to a person")]
    pub fn print(&self, name: &str) {
        let Spread { median, min, max } = Spread::of(&self.0);
        println!("  {name:<42} {median:>10.0} a s  ({min:.0} to {max:.0})");
    }

    /// Prints how many times `other` this is, round by round, and says whether the median reaches
    /// `least`.
    #[expect(clippy::print_stdout, reason = "a bench talks to a person")]
    pub fn against(&self, what: &str, other: &Self, least: f64) -> bool {
        let ratios: Vec<f64> =
            self.0.iter().zip(&other.0).map(|(ours, their)| ours / their).collect();
        let ratio = Spread::of(&ratios);
        let reached = ratio.median >= least;
        let verdict = match least > 0.0 {
            true if reached => format!("at least {least}: reached"),
            true => format!("at least {least}: MISSED"),
            false => "no limit".to_owned(),
        };
        println!("  {what:<42} {ratio}  {verdict}");
        reached
    }
}

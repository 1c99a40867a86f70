//! What the restarters that act themselves share: a known intent is answered, one under way is
//! refused, actions take turns, and an action outlives its caller.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::{ActionRequest, Receipt};
use base::clock::{ClockExt, SharedClock};
use base::sync::{Mutex, MutexGuard};
use base::vocabulary::IntentId;
use base::{Error, ErrorKind, Result, Retry};

/// How many receipts are remembered for a service.
const REMEMBERED: usize = 64;

#[derive(Debug, Default)]
struct Book {
    busy: HashSet<IntentId>,
    receipts: VecDeque<(IntentId, Receipt)>,
}

/// The intents of one service. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Intents {
    book: Arc<Mutex<Book>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Lets go of the intent, also when the action panics.
struct Busy {
    intents: Intents,
    intent: IntentId,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.intents.book().busy.remove(&self.intent);
    }
}

impl Intents {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock()
    }

    /// Remembers a receipt from before our own start.
    #[cfg(feature = "process")]
    pub(super) fn remember(&self, intent: &IntentId, receipt: Receipt) {
        let mut book = self.book();
        if !book.receipts.iter().any(|(known, _)| known == intent) {
            book.receipts.push_back((intent.clone(), receipt));
            if book.receipts.len() > REMEMBERED {
                book.receipts.pop_front();
            }
        }
    }

    /// The turn, for what is no action of a request.
    #[cfg(feature = "process")]
    pub(super) async fn turn(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.turn.clone().lock_owned().await
    }

    /// Carries the action out in a task of its own, after those before it, and waits for it until
    /// the request's deadline.
    ///
    /// # Errors
    /// The action's; `Conflict` while the same intent is under way; `Timeout`, indeterminate,
    /// when the deadline comes first: the action goes on.
    pub(super) async fn carry_out<F>(
        &self,
        clock: &SharedClock,
        request: &ActionRequest,
        operation: &'static str,
        action: F,
    ) -> Result<Receipt>
    where
        F: Future<Output = Result<Receipt>> + Send + 'static,
    {
        let busy = {
            let mut book = self.book();
            if let Some((_, receipt)) = book.receipts.iter().find(|(id, _)| *id == request.intent) {
                return Ok(receipt.clone());
            }
            if !book.busy.insert(request.intent.clone()) {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "this intent is being carried out; ask again when it is done",
                )
                .with_operation(operation));
            }
            Busy { intents: self.clone(), intent: request.intent.clone() }
        };
        let task = tokio::spawn(busy.carry(clock.clone(), request.clone(), action));
        match clock.until(request.deadline, task).await {
            Some(Ok(result)) => result.map_err(|error| error.with_operation(operation)),
            Some(Err(panic)) => Err(Error::new(ErrorKind::Internal, "the action was aborted")
                .with_retry(Retry::Indeterminate)
                .with_operation(operation)
                .with_source(panic)),
            None => Err(Error::new(
                ErrorKind::Timeout,
                "the action is not done at its deadline; it continues",
            )
            .with_operation(operation)),
        }
    }
}

impl Busy {
    async fn carry<F>(
        self,
        clock: SharedClock,
        request: ActionRequest,
        action: F,
    ) -> Result<Receipt>
    where
        F: Future<Output = Result<Receipt>> + Send,
    {
        let _turn = self.intents.turn.lock().await;
        if clock.monotonic() >= request.deadline {
            return Err(Error::new(
                ErrorKind::Timeout,
                "the previous action took until the deadline; nothing was done",
            )
            .with_retry(Retry::Safe { after: None }));
        }
        let receipt = action.await?;
        let mut book = self.intents.book();
        book.receipts.push_back((request.intent, receipt.clone()));
        if book.receipts.len() > REMEMBERED {
            book.receipts.pop_front();
        }
        Ok(receipt)
    }
}

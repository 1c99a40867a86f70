//! Messages on their way to the server, in the order in which they were published.
//!
//! A message takes its place when its publishing begins. What waits is sent by one task, as much as
//! there is as one call of the script, and the next when that is answered. So a server that does not
//! know the script yet, a connection that is still being made and one that was lost hold up all
//! that comes after, and change no order.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::script::{self, Place, Post};
use super::{Shared, runtime};
use crate::clock::ClockExt;
use crate::events::{Envelope, StreamPosition};
use crate::sync::{Mutex, MutexGuard};
use crate::{Error, ErrorKind, Result, Retry};

/// The most messages that wait.
const MOST: usize = 10_000;

/// How many messages go as one, and how many bytes unless a single one has more: for so long others
/// wait for the connection, and for the server.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 128 << 10;

#[derive(Debug)]
struct Waiting {
    /// Of its envelope.
    sequence: u64,
    post: Post,
    told: oneshot::Sender<Result<StreamPosition>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Is there a task that sends?
    is_sent: bool,
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Outbox(Mutex<Queue>);

/// A message that took its place: its publisher's end.
#[derive(Debug)]
pub(super) struct Ticket {
    sequence: u64,
    told: oneshot::Receiver<Result<StreamPosition>>,
}

impl Outbox {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock()
    }

    /// The next messages to be sent, but those for which nobody waits any more; nothing when the task
    /// that sends is to end.
    fn next(&self) -> Vec<Waiting> {
        let mut queue = self.queue();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(first) = queue.waiting.front() {
            bytes += first.post.text.len();
            if batch.len() == BATCH || (bytes > BATCH_BYTES && !batch.is_empty()) {
                break;
            }
            batch.extend(queue.waiting.pop_front().filter(|it| !it.told.is_closed()));
        }
        queue.is_sent = !batch.is_empty();
        batch
    }

    /// Takes back a message that was not sent. Was it?
    fn withdraw(&self, sequence: u64) -> bool {
        let mut queue = self.queue();
        let at = queue.waiting.iter().position(|it| it.sequence == sequence);
        at.and_then(|at| queue.waiting.remove(at)).is_some()
    }
}

/// Gives a message its place. Who calls this in the order of the sequences gets that order.
pub(super) fn push(shared: &Arc<Shared>, envelope: &Envelope) -> Result<Ticket> {
    let (sequence, post) = (envelope.sequence, Post::new(envelope)?);
    let (sender, told) = oneshot::channel();
    let runtime = runtime()?;
    let is_first = {
        let mut queue = shared.outbox.queue();
        if queue.waiting.len() >= MOST {
            return Err(too_many());
        }
        queue.waiting.push_back(Waiting { sequence, post, told: sender });
        !std::mem::replace(&mut queue.is_sent, true)
    };
    if is_first {
        runtime.spawn(run(Sending { shared: Arc::clone(shared), is_over: false }));
    }
    Ok(Ticket { sequence, told })
}

impl Ticket {
    /// The position of the message, once it has one.
    pub(super) async fn position(self, shared: &Shared) -> Result<StreamPosition> {
        let deadline = shared.redis.longest_call();
        // The call of the script has the deadline too, and can tell more of what it met.
        let end = shared.clock.monotonic() + deadline + deadline / 8;
        match shared.clock.until(end, self.told).await {
            Some(Ok(told)) => told,
            Some(Err(_)) => Err(ended()),
            None => Err(late(shared.outbox.withdraw(self.sequence))),
        }
    }
}

/// The task that sends. Where it goes with its runtime, all who wait hear of it, and the next message
/// starts another.
struct Sending {
    shared: Arc<Shared>,
    is_over: bool,
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.is_over {
            let mut queue = self.shared.outbox.queue();
            queue.is_sent = false;
            queue.waiting.clear();
        }
    }
}

async fn run(mut sending: Sending) {
    loop {
        let batch = sending.shared.outbox.next();
        if batch.is_empty() {
            sending.is_over = true;
            return;
        }
        let (posts, told): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|it| (it.post, it.told)).unzip();
        tell(told, send(&sending.shared, &posts).await);
    }
}

/// Publishes messages. Where the connection was lost, and not the time, the stream knows whether they
/// arrived.
async fn send(shared: &Shared, posts: &[Post]) -> Result<Vec<StreamPosition>> {
    let sent = script::publish(shared, posts, Place::New).await;
    match &sent {
        Err(error)
            if error.retry() == Retry::Indeterminate && error.kind() == ErrorKind::Unavailable =>
        {
            let sent = script::publish(shared, posts, Place::LookUp).await;
            sent.map_err(|error| error.with_retry(Retry::Indeterminate))
        }
        _ => sent,
    }
}

/// Who has stopped waiting meanwhile is told nothing.
fn tell(told: Vec<oneshot::Sender<Result<StreamPosition>>>, sent: Result<Vec<StreamPosition>>) {
    match sent {
        Ok(positions) => {
            for (publisher, position) in told.into_iter().zip(positions) {
                drop(publisher.send(Ok(position)));
            }
        }
        Err(error) => {
            for publisher in told {
                drop(publisher.send(Err(error.clone().with_operation(script::PUBLISHING))));
            }
        }
    }
}

fn publishing(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message.into()).with_operation(script::PUBLISHING)
}

fn too_many() -> Error {
    let message =
        format!("{MOST} messages are already waiting to be published; publish fewer at once");
    publishing(ErrorKind::Unavailable, message).with_retry(Retry::Safe { after: None })
}

fn ended() -> Error {
    let message = "the runtime that publishes messages has ended; this message may or may not have been published";
    publishing(ErrorKind::Unavailable, message).with_retry(Retry::Indeterminate)
}

fn late(was_withdrawn: bool) -> Error {
    let (message, retry) = match was_withdrawn {
        true => ("the messages before this one took too long", Retry::Safe { after: None }),
        false => (
            "timed out waiting for an answer; the message may or may not have been published",
            Retry::Indeterminate,
        ),
    };
    publishing(ErrorKind::Timeout, message).with_retry(retry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;
    use crate::events::{Event, Message, TopicName};

    fn add(outbox: &Outbox, sequence: u64, bytes: usize) -> Ticket {
        let topic = TopicName::new("chat").unwrap();
        let message = Message::new(topic, serde_json::json!("x".repeat(bytes))).unwrap();
        let (instance, at) = ("here".into(), WallTime::from_millis(0));
        let envelope = Envelope::new(sequence, instance, at, Event::Message(message));
        let (sender, told) = oneshot::channel();
        let post = Post::new(&envelope).unwrap();
        outbox.queue().waiting.push_back(Waiting { sequence, post, told: sender });
        Ticket { sequence, told }
    }

    fn next(outbox: &Outbox) -> Vec<u64> {
        outbox.next().iter().map(|it| it.sequence).collect()
    }

    #[test]
    fn batches_keep_the_order_and_end() {
        let outbox = Outbox::default();
        let _tickets: Vec<_> = (0..100).map(|sequence| add(&outbox, sequence, 1)).collect();
        assert_eq!(next(&outbox), (0..64).collect::<Vec<_>>());
        assert_eq!(next(&outbox), (64..100).collect::<Vec<_>>());
        assert!(outbox.queue().is_sent);
        assert!(next(&outbox).is_empty());
        assert!(!outbox.queue().is_sent, "the next message starts another task");
    }

    #[test]
    fn a_batch_of_large_messages_is_short_and_never_empty() {
        let outbox = Outbox::default();
        let _tickets: Vec<_> = (0..5).map(|sequence| add(&outbox, sequence, 60_000)).collect();
        assert_eq!(next(&outbox), [0, 1]);
        assert_eq!(next(&outbox), [2, 3]);
        assert_eq!(next(&outbox), [4]);
    }

    #[test]
    fn what_was_given_up_is_not_sent() {
        let outbox = Outbox::default();
        let [first, second, third] = [0, 1, 2].map(|sequence| add(&outbox, sequence, 1));
        drop(first);
        assert!(outbox.withdraw(second.sequence));
        assert_eq!(next(&outbox), [third.sequence]);
        assert!(!outbox.withdraw(third.sequence), "it was sent");
    }
}

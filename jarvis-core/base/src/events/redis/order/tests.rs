use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::script::PAGE;
use super::*;
use crate::clock::WallTime;
use crate::events::{Event, Message, StreamPosition, TopicName};

/// An entry whose name is its `number`.
fn entry(epoch: u64, sequence: u64, number: u64, previous: Option<u64>) -> Entry {
    let message = Message::new(TopicName::new("t").unwrap(), serde_json::Value::Null).unwrap();
    let envelope = |number| {
        Envelope::new(number, "p".into(), WallTime::default(), Event::Message(message.clone()))
    };
    let epoch: Arc<str> = epoch.to_string().into();
    let previous = previous.map(|number| Name::of(&envelope(number)));
    let position = StreamPosition::new(Arc::clone(&epoch), sequence);
    let envelope = Arc::new(envelope(number).with_stream(position));
    Entry { envelope, epoch, sequence, previous }
}

/// A server that keeps, trims, forgets, and brings back an older end.
#[derive(Debug, Default)]
struct Server {
    epoch: u64,
    /// All of this epoch; the first `trimmed` can't be read any more.
    log: Vec<Entry>,
    trimmed: usize,
    published: u64,
}

impl Server {
    fn publish(&mut self) -> Entry {
        self.published += 1;
        self.append(self.published)
    }

    fn append(&mut self, number: u64) -> Entry {
        if self.epoch == 0 {
            self.epoch = self.published + 1_000_000;
        }
        let previous = self.log.last().map(|entry| entry.envelope.sequence);
        let next = entry(self.epoch, self.log.len() as u64 + 1, number, previous);
        self.log.push(next.clone());
        next
    }

    fn page(&self, from: u64, most: usize) -> Page {
        let rest = self.log.iter().skip(self.trimmed).filter(|entry| entry.sequence >= from);
        let entries: Vec<Entry> = rest.take(most).cloned().collect();
        let head = (self.epoch > 0).then(|| Head {
            epoch: self.epoch.to_string().into(),
            sequence: self.log.len() as u64,
            last: self.log.last().map(|entry| Name::of(&entry.envelope)),
        });
        let complete = entries.len() < most;
        Page { head, entries, complete }
    }
}

struct Reader {
    order: Order,
    out: Vec<Output>,
    page: usize,
}

impl Reader {
    fn hear(&mut self, server: &Server, entry: Entry) {
        if self.order.offer(entry, &mut self.out) == Step::Ask {
            self.catch_up(server);
        }
    }

    fn catch_up(&mut self, server: &Server) {
        for _ in 0..10_000 {
            let page = server.page(self.order.next_page(), self.page);
            if self.order.fill(page, &mut self.out) {
                return;
            }
        }
        panic!("it never ends: {:?}", self.order);
    }

    fn numbers(&self) -> Vec<u64> {
        let number = |output: &Output| match output {
            Output::Event(envelope) => Some(envelope.sequence),
            _ => None,
        };
        self.out.iter().filter_map(number).collect()
    }

    fn gaps(&self) -> usize {
        self.out.iter().filter(|output| matches!(output, Output::Gap(_))).count()
    }
}

fn reader(server: &Server) -> Reader {
    Reader { order: Order::begin(server.page(0, 0).head), out: Vec::new(), page: PAGE }
}

#[test]
fn what_overtakes_waits_for_what_is_late() {
    let mut server = Server::default();
    let mut reader = reader(&server);
    let [one, two, three] = [server.publish(), server.publish(), server.publish()];
    reader.hear(&server, one.clone());
    assert_eq!(reader.numbers(), [1, 2, 3], "the first of an epoch is a reason to read");
    let [four, five, six] = [server.publish(), server.publish(), server.publish()];
    let (order, out) = (&mut reader.order, &mut reader.out);
    assert_eq!(order.offer(six, out), Step::Wait);
    assert_eq!(order.offer(five, out), Step::Wait);
    assert!(order.is_waiting());
    assert_eq!(order.offer(four, out), Step::Done);
    for again in [one, two, three] {
        assert_eq!(order.offer(again, out), Step::Done);
    }
    assert_eq!(reader.numbers(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_hole_is_filled_and_what_is_trimmed_is_counted() {
    let mut server = Server::default();
    server.publish();
    let mut reader = reader(&server);
    for _ in 0..500 {
        server.publish();
    }
    server.trimmed = 101;
    reader.catch_up(&server);
    let epoch: Arc<str> = server.epoch.to_string().into();
    assert_eq!(reader.out[0], Output::Missed { epoch, after: 1, last: 101 });
    assert_eq!(reader.numbers(), (102..=501).collect::<Vec<_>>());
    server.trimmed = 501;
    server.publish();
    server.trimmed = 502;
    reader.catch_up(&server);
    assert!(matches!(reader.out.last(), Some(Output::Missed { after: 501, last: 502, .. })));
}

#[test]
fn what_a_publisher_repeats_after_the_server_lost_it_is_not_handed_out_again() {
    for empty in [false, true] {
        let mut server = Server::default();
        server.publish();
        let mut reader = reader(&server);
        let heard: Vec<Entry> = (0..4).map(|_| server.publish()).collect();
        heard.into_iter().for_each(|entry| reader.hear(&server, entry));
        assert_eq!(reader.numbers(), [2, 3, 4, 5]);
        if empty {
            server = Server { published: server.published, ..Server::default() };
        } else {
            server.log.truncate(4);
        }
        // Whoever published the fifth had no answer, and the new master does not know it.
        for next in [server.publish(), server.append(5), server.publish()] {
            reader.hear(&server, next);
        }
        reader.catch_up(&server);
        assert_eq!(reader.numbers(), [2, 3, 4, 5, 6, 7], "{:?}", reader.out);
        assert_eq!(reader.gaps(), 1);
    }
}

#[test]
fn a_server_that_forgot_everything_is_told() {
    let mut server = Server::default();
    server.publish();
    let mut reader = reader(&server);
    server.publish();
    reader.catch_up(&server);
    server = Server { published: 2, ..Server::default() };
    reader.catch_up(&server);
    assert_eq!(reader.out[1..], [Output::Gap(Gap::StreamLost)]);
    let third = server.publish();
    reader.hear(&server, third);
    assert_eq!(reader.numbers(), [2, 3]);
    assert_eq!(reader.gaps(), 1, "told once");
    // The same while it publishes already.
    server = Server { published: 3, ..Server::default() };
    server.publish();
    reader.catch_up(&server);
    assert_eq!((reader.numbers(), reader.gaps()), (vec![2, 3, 4], 2));
}

#[test]
fn a_failover_that_lost_the_end_is_told_and_nothing_new_is_taken_for_old() {
    let mut server = Server::default();
    let mut reader = reader(&server);
    for _ in 0..300 {
        let next = server.publish();
        reader.hear(&server, next);
    }
    // 290 were replicated; then others are published under the same numbers.
    server.log.truncate(290);
    let replaced = (0..20).map(|_| server.publish()).collect::<Vec<_>>();
    for next in replaced {
        reader.hear(&server, next);
    }
    assert_eq!(reader.numbers(), (1..=320).collect::<Vec<_>>());
    assert_eq!(reader.gaps(), 1);
    // The same while nothing is heard, and with fewer than before.
    server.log.truncate(300);
    reader.catch_up(&server);
    let next = server.publish();
    reader.hear(&server, next);
    assert_eq!(reader.numbers(), (1..=321).collect::<Vec<_>>());
    assert_eq!(reader.gaps(), 2);
}

#[test]
fn other_entries_under_known_numbers_are_told_when_none_can_be_read() {
    let mut server = Server::default();
    let mut reader = reader(&server);
    let heard: Vec<Entry> = (0..3).map(|_| server.publish()).collect();
    heard.into_iter().for_each(|entry| reader.hear(&server, entry));
    server.log.truncate(1);
    (0..2).for_each(|_| drop(server.publish()));
    server.trimmed = 3;
    reader.catch_up(&server);
    assert_eq!((reader.numbers(), reader.gaps()), (vec![1, 2, 3], 1));
    assert!(matches!(reader.out.last(), Some(Output::Missed { last: 3, .. })), "{:?}", reader.out);
    reader.catch_up(&server);
    assert_eq!(reader.gaps(), 1, "told once");
}

#[test]
fn a_history_that_parts_before_all_that_is_known_ends() {
    let mut server = Server::default();
    let mut reader = reader(&server);
    for _ in 0..5_000 {
        server.publish();
    }
    reader.catch_up(&server);
    server.log.truncate(10);
    server.publish();
    reader.catch_up(&server);
    assert_eq!(reader.gaps(), 1);
    let next = server.publish();
    reader.hear(&server, next);
    assert_eq!(reader.numbers().last(), Some(&5_002));
    // Nor does a stream of which nothing can be read.
    server.trimmed = server.log.len();
    server.publish();
    server.trimmed += 1;
    reader.catch_up(&server);
    server.log.truncate(5);
    server.trimmed = 5;
    reader.catch_up(&server);
    reader.catch_up(&server);
    assert_eq!(reader.gaps(), 2);
}

#[derive(Debug, Clone)]
enum Act {
    Publish { heard: bool },
    Late,
    Late2,
    Again(usize),
    Look,
    Trim(usize),
    RollBack(usize),
    Flush,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        20 => any::<bool>().prop_map(|heard| Act::Publish { heard }),
        6 => Just(Act::Late),
        3 => Just(Act::Late2),
        2 => (0..100_usize).prop_map(Act::Again),
        3 => Just(Act::Look),
        1 => (1..6_usize).prop_map(Act::Trim),
        1 => (1..6_usize).prop_map(Act::RollBack),
        1 => Just(Act::Flush),
    ]
}

proptest! {
    #[test]
    fn nothing_comes_twice_and_what_is_missing_is_told(
        acts in proptest::collection::vec(act(), 1..120), page in 2..6_usize,
    ) {
        let mut server = Server::default();
        let mut reader = reader(&server);
        reader.page = page;
        let (mut late, mut sent) = (Vec::new(), Vec::new());
        let mut forgotten = false;
        for act in acts {
            match act {
                Act::Publish { heard } => {
                    let next = server.publish();
                    sent.push(next.clone());
                    if heard { reader.hear(&server, next) } else { late.push(next) }
                }
                Act::Late => if let Some(entry) = late.pop() { reader.hear(&server, entry) },
                Act::Late2 => if !late.is_empty() { reader.hear(&server, late.remove(0)) },
                Act::Again(at) => if let Some(entry) = sent.get(at) {
                    reader.hear(&server, entry.clone());
                },
                Act::Look => reader.catch_up(&server),
                Act::Trim(count) => {
                    server.trimmed = (server.trimmed + count).min(server.log.len());
                }
                Act::RollBack(count) => {
                    let left = server.log.len().saturating_sub(count);
                    server.log.truncate(left);
                    server.trimmed = server.trimmed.min(left);
                    forgotten = true;
                }
                Act::Flush => {
                    server = Server { published: server.published, ..Server::default() };
                    forgotten = true;
                }
            }
        }
        reader.catch_up(&server);
        let numbers = reader.numbers();
        let once: BTreeSet<u64> = numbers.iter().copied().collect();
        prop_assert_eq!(once.len(), numbers.len(), "something came twice: {:?}", numbers);
        let epoch: Arc<str> = server.epoch.to_string().into();
        for (at, entry) in server.log.iter().enumerate() {
            // What took the place of a lost entry and was trimmed itself can't be counted.
            let unseen = forgotten && at < server.trimmed;
            let told = reader.out.iter().any(|output| matches!(
                output, Output::Missed { epoch: of, after, last }
                    if *of == epoch && (unseen || *after < entry.sequence) && entry.sequence <= *last));
            let number = entry.envelope.sequence;
            prop_assert!(told || once.contains(&number), "{} is missing: {:?}", number, reader.out);
        }
        let all = once.len() as u64 == server.published;
        prop_assert!(all || forgotten || reader.out.iter().any(|it| !matches!(it, Output::Event(_))));
        if !forgotten {
            prop_assert!(numbers.is_sorted(), "{:?}", numbers);
            prop_assert_eq!(reader.gaps(), 0);
        }
    }
}

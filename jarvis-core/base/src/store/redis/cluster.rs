//! [`Cluster`]: the map from slots to masters. It is read from the cluster, and read again when a
//! master reports that a slot has moved, or does not answer.
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::select_ok;
use redis::{ServerError, Value};
use tokio::runtime::Handle;

use super::address::Host;
use super::board::Board;
use super::command::{Command, Effect, Reply, SLOTS};
use super::dial::{Dialer, Target};
use super::failure;
use super::link::{Answer, Deadline, Dial, Link, Owner};
use super::sentinel;
use crate::clock::{ClockExt, Monotonic};
use crate::resilience::{Backoff, BackoffPolicy};
use crate::sync::{Mutex, MutexGuard, RwLock};
use crate::{Error, ErrorKind, Result, Retry};

/// How often one command follows the cluster's advice.
const HOPS: usize = 6;
/// Between two tries of a command whose slot is being moved.
const MOVING: Duration = Duration::from_millis(20);
/// How many nodes are asked at once for the table of slots.
const ASKED: usize = 8;
/// A slot that no master has.
const NOBODY: u16 = u16::MAX;
/// After the whole cluster gave no answer.
const BACKOFF: BackoffPolicy = BackoffPolicy {
    initial: Duration::from_millis(100),
    factor: 2.0,
    max: Duration::from_secs(2),
    jitter: true,
};

#[derive(Debug)]
struct Table {
    /// Of each slot the index of its master.
    slots: Box<[u16]>,
    masters: Vec<Arc<Link>>,
    /// All nodes, replicas too: whom to ask next time.
    nodes: BTreeSet<Host>,
}

impl Table {
    fn empty() -> Self {
        let slots = vec![NOBODY; usize::from(SLOTS)].into_boxed_slice();
        Self { slots, masters: Vec::new(), nodes: BTreeSet::new() }
    }

    fn master(&self, slot: u16) -> Option<&Arc<Link>> {
        self.slots.get(usize::from(slot)).and_then(|index| self.masters.get(usize::from(*index)))
    }
}

/// How learning the table went the last time.
#[derive(Debug)]
struct Learning {
    /// Counts what was learned.
    edition: u64,
    trouble: Option<(Monotonic, Error)>,
    backoff: Backoff,
}

#[derive(Debug)]
pub(super) struct Cluster {
    seeds: Vec<Host>,
    dialer: Arc<Dialer>,
    board: Arc<Board>,
    table: RwLock<Arc<Table>>,
    links: Mutex<BTreeMap<Host, Arc<Link>>>,
    learning: Mutex<Learning>,
    /// One at a time learns; the others wait and use that.
    turn: tokio::sync::Mutex<()>,
    me: Weak<Self>,
}

#[async_trait]
impl Owner for Cluster {
    async fn unreachable(&self) {
        drop(self.learn().await);
    }
}

impl Cluster {
    pub(super) fn new(seeds: Vec<Host>, dialer: Arc<Dialer>, board: Arc<Board>) -> Arc<Self> {
        let learning = Learning { edition: 0, trouble: None, backoff: Backoff::new(BACKOFF) };
        Arc::new_cyclic(|me| Self {
            seeds,
            dialer,
            board,
            table: RwLock::new(Arc::new(Table::empty())),
            links: Mutex::default(),
            learning: Mutex::new(learning),
            turn: tokio::sync::Mutex::new(()),
            me: me.clone(),
        })
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read())
    }

    fn learning(&self) -> MutexGuard<'_, Learning> {
        self.learning.lock()
    }

    /// The master of a slot; any that answers where no slot is asked for.
    pub(super) async fn master(&self, slot: Option<u16>, deadline: Deadline) -> Result<Arc<Link>> {
        if let Some(link) = self.known(slot) {
            return Ok(link);
        }
        match self.dialer.clock.until(deadline.at, self.learn()).await {
            Some(result) => result?,
            None => return Err(super::dial::slow(&self.names(), deadline.within)),
        }
        self.known(slot).ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                format!(
                    "no master of the cluster at {} serves the key's slot; see CLUSTER INFO",
                    self.names()
                ),
            )
        })
    }

    fn known(&self, slot: Option<u16>) -> Option<Arc<Link>> {
        let table = self.table();
        match slot {
            Some(slot) => table.master(slot).cloned(),
            None => {
                let up = table.masters.iter().find(|link| link.is_up());
                up.or_else(|| table.masters.first()).cloned()
            }
        }
    }

    /// All masters that have slots.
    pub(super) async fn masters(&self, deadline: Deadline) -> Result<Vec<Arc<Link>>> {
        self.master(None, deadline).await?;
        Ok(self.table().masters.clone())
    }

    /// Does the cluster do without that node, as far as is known?
    pub(super) fn is_without(&self, target: &Target) -> bool {
        let table = self.table();
        match target {
            Target::Host(host) => !table.nodes.is_empty() && !table.nodes.contains(host),
            Target::Socket(_) => false,
        }
    }

    fn names(&self) -> String {
        self.seeds.iter().map(Host::to_string).collect::<Vec<_>>().join(",")
    }

    /// Sends a command to where its keys are, and follows where they have gone.
    pub(super) async fn ask(
        &self,
        command: &Command,
        effect: Effect,
        deadline: Deadline,
    ) -> Result<Reply> {
        let (mut text, mut resent) = (None, false);
        let mut redirect: Option<(Arc<Link>, bool)> = None;
        let mut refused = None;
        for _ in 0..HOPS {
            let command = text.as_ref().unwrap_or(command);
            let (link, asking) = match redirect.take() {
                Some(to) => to,
                None => (self.master(command.slot(), deadline).await?, false),
            };
            let reply = send(&link, command, asking, effect, deadline).await?;
            resent |= reply.resent;
            let Value::ServerError(error) = reply.value else {
                return Ok(Reply { resent, ..reply });
            };
            match error.code() {
                "MOVED" => {
                    redirect = self.target(&link, &error).map(|to| (to, false));
                    self.learn_soon();
                }
                "ASK" => redirect = self.target(&link, &error).map(|to| (to, true)),
                "TRYAGAIN" => {
                    self.dialer.clock.sleep(MOVING).await;
                    redirect = Some((link.clone(), asking));
                }
                "NOSCRIPT" if text.is_none() => {
                    text = command.with_text();
                    redirect = Some((link.clone(), asking));
                }
                "READONLY" | "CLUSTERDOWN" | "MASTERDOWN" if refused.is_none() => {
                    self.learn_soon();
                    return Err(failure::refused(link.name(), &error));
                }
                _ => return Err(failure::refused(link.name(), &error)),
            }
            refused = Some(failure::refused(link.name(), &error));
        }
        Err(refused.unwrap_or_else(|| Error::new(ErrorKind::Internal, "no node was asked")))
    }

    /// Whom a `MOVED` or `ASK` names: `3999 127.0.0.1:6381`. Without a host it is the same one.
    fn target(&self, from: &Link, error: &ServerError) -> Option<Arc<Link>> {
        let (_, address) = error.details()?.split_once(' ')?;
        let (name, port) = address.rsplit_once(':')?;
        let name = match (name, from.dial()) {
            ("", Dial::Fixed(Target::Host(host))) => host.name.clone(),
            _ => name.to_owned(),
        };
        Some(self.link(Host { name, port: port.parse().ok()? }))
    }

    fn link(&self, host: Host) -> Arc<Link> {
        let mut links = self.links.lock();
        let link = links.entry(host).or_insert_with_key(|host| {
            let owner = self.me.clone() as Weak<dyn Owner>;
            let dial = Dial::Fixed(Target::Host(host.clone()));
            let (dialer, board) = (Arc::clone(&self.dialer), Arc::clone(&self.board));
            Link::new(host.to_string(), dial, dialer, board, Some(owner))
        });
        Arc::clone(link)
    }

    /// Learns the table in the background.
    fn learn_soon(&self) {
        if let (Some(cluster), Ok(runtime)) = (self.me.upgrade(), Handle::try_current()) {
            runtime.spawn(async move { drop(cluster.learn().await) });
        }
    }

    /// Asks the nodes for the table of slots, and takes the first answer. Right after a failure
    /// nobody is asked again, so that callers don't wait one by one for a cluster that is down.
    async fn learn(&self) -> Result<()> {
        let edition = self.learning().edition;
        let _turn = self.turn.lock().await;
        {
            let learning = self.learning();
            if learning.edition != edition {
                return Ok(());
            }
            if let Some((until, error)) = &learning.trouble
                && self.dialer.clock.monotonic() < *until
            {
                return Err(error.clone());
            }
        }
        let asked = self.candidates().into_iter().map(|host| self.ask_slots(host).boxed());
        let outcome = select_ok(asked).await.map(|(table, _)| self.adopt(table));
        let mut learning = self.learning();
        match outcome {
            Ok(()) => {
                learning.edition += 1;
                learning.trouble = None;
                learning.backoff.succeeded();
                Ok(())
            }
            Err(error) => {
                let error = Error::new(
                    error.kind(),
                    format!("no node of the cluster answers: {}", error.message()),
                )
                .with_retry(Retry::Safe { after: None });
                let until = self.dialer.clock.monotonic() + learning.backoff.failed();
                learning.trouble = Some((until, error.clone()));
                Err(error)
            }
        }
    }

    /// Those that answer first, then the others, then those that the URL names.
    fn candidates(&self) -> Vec<Host> {
        let table = self.table();
        let links = self.links.lock();
        let up = |host: &Host| links.get(host).is_some_and(|link| link.is_up());
        let mut hosts: Vec<Host> = table.nodes.iter().filter(|host| up(host)).cloned().collect();
        hosts.extend(table.nodes.iter().filter(|host| !up(host)).cloned());
        hosts.truncate(ASKED);
        hosts.extend(self.seeds.iter().filter(|seed| !table.nodes.contains(seed)).cloned());
        hosts
    }

    async fn ask_slots(&self, host: Host) -> Result<Vec<Range>> {
        let target = Target::Host(host.clone());
        let mut connection = self.dialer.connect(&target, None).await?;
        let mut question = redis::cmd("CLUSTER");
        question.arg("SLOTS");
        let answer = sentinel::ask(&self.dialer, &target, &mut connection, &question).await?;
        let ranges = Range::read_all(&target, &host, answer)?;
        if ranges.is_empty() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "the node at {host} reports no slots; create the cluster first (redis-cli --cluster create)"
                ),
            ));
        }
        Ok(ranges)
    }

    fn adopt(&self, ranges: Vec<Range>) {
        let mut table = Table::empty();
        let mut indices: BTreeMap<Host, u16> = BTreeMap::new();
        for range in ranges {
            let next = u16::try_from(table.masters.len()).unwrap_or(NOBODY);
            let index = *indices.entry(range.master.clone()).or_insert_with(|| {
                table.masters.push(self.link(range.master.clone()));
                next
            });
            let slots = usize::from(range.first)..=usize::from(range.last);
            if let Some(slots) = table.slots.get_mut(slots) {
                slots.fill(index);
            }
            table.nodes.insert(range.master);
            table.nodes.extend(range.replicas);
        }
        let mut links = self.links.lock();
        links.retain(|host, _| indices.contains_key(host));
        drop(links);
        *self.table.write() = Arc::new(table);
    }
}

/// A command for one node; `ASKING` before it lets it reach a slot that is on its way there.
async fn send(
    link: &Link,
    command: &Command,
    asking: bool,
    effect: Effect,
    deadline: Deadline,
) -> Result<Reply> {
    if !asking {
        let Answer { resent, value, .. } = link.send(&command.cmd, effect, deadline).await?;
        return Ok(Reply { resent, value });
    }
    let mut both = redis::Pipeline::new();
    both.cmd("ASKING").add_command(command.cmd.clone());
    let Answer { resent, mut value, .. } = link.send_all(&both, effect, deadline).await?;
    Ok(Reply { resent, value: value.pop().unwrap_or(Value::Nil) })
}

/// A line of `CLUSTER SLOTS`.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    master: Host,
    replicas: Vec<Host>,
}

impl Range {
    fn read_all(target: &Target, asked: &Host, answer: Value) -> Result<Vec<Self>> {
        let lines: Vec<Vec<Value>> = failure::read(target, answer)?;
        lines.into_iter().map(|line| Self::read(target, asked, line)).collect()
    }

    fn read(target: &Target, asked: &Host, line: Vec<Value>) -> Result<Self> {
        let mut line = line.into_iter();
        let mut next = || line.next().unwrap_or(Value::Nil);
        let (first, last) = (failure::read(target, next())?, failure::read(target, next())?);
        let master = Self::node(target, asked, next())?;
        let replicas = line.map(|node| Self::node(target, asked, node)).collect::<Result<_>>()?;
        Ok(Self { first, last, master, replicas })
    }

    /// `[host, port, id, …]`; a node that does not know its host is the one that was asked.
    fn node(target: &Target, asked: &Host, node: Value) -> Result<Host> {
        let mut parts = failure::read::<Vec<Value>>(target, node)?.into_iter();
        let mut next = || parts.next().unwrap_or(Value::Nil);
        let name: Option<String> = failure::read(target, next())?;
        let port = failure::read(target, next())?;
        let known = name.filter(|name| !name.is_empty() && name != "?");
        Ok(Host { name: known.unwrap_or_else(|| asked.name.clone()), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_read() {
        let text = |text: &str| Value::BulkString(text.into());
        let node = |name: Value, port| Value::Array(vec![name, Value::Int(port), text("id")]);
        let answer = Value::Array(vec![Value::Array(vec![
            Value::Int(0),
            Value::Int(5460),
            node(text(""), 7000),
            node(text("b"), 7001),
        ])]);
        let asked = Host { name: "a".to_owned(), port: 1 };
        let host = |name: &str, port| Host { name: name.to_owned(), port };
        let ranges = Range::read_all(&Target::Host(asked.clone()), &asked, answer).unwrap();
        let (master, replicas) = (host("a", 7000), vec![host("b", 7001)]);
        assert_eq!(ranges, [Range { first: 0, last: 5460, master, replicas }]);
    }
}

//! Requests to a server: [`Command`] and [`Script`], and the hash slot of a key.

use std::sync::OnceLock;

use redis::{Arg, Cmd, ToRedisArgs, Value};

/// How many arguments a command has room for before it has to grow, and of how many bytes together.
const ARGUMENTS: usize = 12;
const LENGTH: usize = 256;

/// What a command does, and so what may be done when its answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing, and may be sent again.
    Read,
    /// It changes something; a lost answer is `Retry::Indeterminate`.
    Write,
    /// It changes something, and twice is the same as once. It is sent again after a lost
    /// connection; a caller may repeat it.
    Idempotent,
}

/// What a server answered; its refusal is a [`Value::ServerError`].
#[derive(Debug)]
pub(super) struct Reply {
    /// Was it sent a second time, after the answer to the first was lost?
    pub(super) resent: bool,
    pub(super) value: Value,
}

/// A Lua script, sent by its hash and loaded where a server does not have it.
#[derive(Debug)]
pub struct Script {
    code: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    /// A script by its source.
    pub const fn new(code: &'static str) -> Self {
        Self { code, hash: OnceLock::new() }
    }

    fn hash(&self) -> &str {
        self.hash.get_or_init(|| redis::Script::new(self.code).get_hash().to_owned())
    }

    /// A call with these keys: all that it touches, in one hash slot. Add the arguments with
    /// [`Command::arg`].
    pub fn call<K: AsRef<[u8]>>(&'static self, keys: &[K]) -> Command {
        let mut cmd = Cmd::with_capacity(ARGUMENTS, LENGTH);
        cmd.arg("EVALSHA").arg(self.hash()).arg(keys.len());
        for key in keys {
            cmd.arg(key.as_ref());
        }
        Command { cmd, script: Some(self) }
    }
}

/// A command with its arguments.
#[derive(Debug, Clone)]
pub struct Command {
    pub(super) cmd: Cmd,
    script: Option<&'static Script>,
}

impl From<Cmd> for Command {
    fn from(cmd: Cmd) -> Self {
        Self { cmd, script: None }
    }
}

impl Command {
    /// A command without arguments so far.
    pub fn new(name: &str) -> Self {
        let mut cmd = Cmd::with_capacity(ARGUMENTS, LENGTH);
        cmd.arg(name);
        cmd.into()
    }

    /// Adds an argument, or several where it is a list.
    pub fn arg(mut self, value: impl ToRedisArgs) -> Self {
        self.cmd.arg(value);
        self
    }

    /// The same call with the script's text, for a server that does not know its hash.
    pub(super) fn with_text(&self) -> Option<Self> {
        let script = self.script?;
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(script.code);
        for arg in self.arguments().skip(2) {
            cmd.arg(arg);
        }
        Some(Self { cmd, script: None })
    }

    fn arguments(&self) -> impl Iterator<Item = &[u8]> {
        self.cmd.args_iter().map(|arg| match arg {
            Arg::Simple(bytes) => bytes,
            _ => b"0",
        })
    }

    /// The hash slot of its first key; `None` for a command without keys.
    pub(super) fn slot(&self) -> Option<u16> {
        let mut arguments = self.arguments();
        let name = arguments.next()?.to_ascii_uppercase();
        match name.as_slice() {
            b"PING" | b"TIME" | b"INFO" | b"PUBLISH" | b"SCRIPT" | b"CLUSTER" | b"ROLE"
            | b"CONFIG" | b"CLIENT" | b"DBSIZE" | b"SCAN" | b"FLUSHALL" | b"FLUSHDB" | b"WAIT"
            | b"HELLO" | b"ECHO" | b"COMMAND" | b"FT._LIST" | b"MODULE" => None,
            b"EVAL" | b"EVALSHA" | b"EVAL_RO" | b"EVALSHA_RO" | b"FCALL" | b"FCALL_RO" => {
                arguments.nth(2).map(slot_of)
            }
            b"XREAD" | b"XREADGROUP" => {
                arguments.find(|arg| arg.eq_ignore_ascii_case(b"STREAMS"))?;
                arguments.next().map(slot_of)
            }
            b"OBJECT" | b"MEMORY" | b"XGROUP" | b"XINFO" => arguments.nth(1).map(slot_of),
            _ => arguments.next().map(slot_of),
        }
    }
}

/// How many slots a cluster has.
pub(super) const SLOTS: u16 = 16_384;

/// The hash slot of a key: CRC16 (XMODEM) of the text in its first `{…}`, or of all of it.
/// <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    let mut crc: u16 = 0;
    for byte in tag.unwrap_or(key) {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot_of(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{}{bar}"), 8_363);
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
    }

    #[test]
    fn a_command_goes_where_its_first_key_is() {
        static SCRIPT: Script = Script::new("return 1");
        let slot = |command: Command| command.slot();
        assert_eq!(slot(Command::new("GET").arg("foo")), Some(12_182));
        assert_eq!(slot(SCRIPT.call(&["foo", "{foo}b"]).arg(1)), Some(12_182));
        assert_eq!(slot(SCRIPT.call::<&str>(&[])), None);
        let read = Command::new("XREAD").arg("COUNT").arg(1).arg("streams").arg("foo").arg("0");
        assert_eq!(slot(read), Some(12_182));
        assert_eq!(slot(Command::new("PING")), None);
    }

    #[test]
    fn a_script_is_sent_as_text_where_its_hash_is_unknown() {
        static SCRIPT: Script = Script::new("return KEYS[1]");
        let call = SCRIPT.call(&["k"]).arg("a").with_text().unwrap();
        let words: Vec<&[u8]> = call.arguments().collect();
        assert_eq!(words, [b"EVAL".as_slice(), b"return KEYS[1]", b"1", b"k", b"a"]);
        assert!(call.with_text().is_none());
    }
}

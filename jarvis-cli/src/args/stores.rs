//! `jarvis session` and `jarvis cache` as types.

use std::time::Duration;

use clap::{Args, Subcommand};
use jarvis_core::units::parse_duration;
use jarvis_core::vocabulary::UserId;

use crate::input::Input;

pub(super) const SESSION_HELP: &str =
    "Sessions are stored in jarvis.db in the state directory, unless `[store] session` in jarvis.toml or \
the environment variable JARVIS_STORE__SESSION names another store, such as \
redis://127.0.0.1:6379.

A SESSION is named by its id (the value of the visitor's cookie) or by its handle (shown by `list`). \
A handle can extend or delete a session, but not read it. An id is printed once, when it is created.

Ids and data can be given literally, as - (standard input) or as @FILE. Other users of this machine \
can see command lines, so prefer - or @FILE for ids.

Exit codes: 0 success, 1 no such session or version conflict, 2 invalid usage, 3 store unavailable.

Examples:
  jarvis session create --user ada --ttl 30m '{\"project\":\"demo\"}'
  jarvis session get @id.txt --output json
  jarvis session set @id.txt '{\"takes\":3,\"draft\":null}'
  jarvis session list --user ada
  jarvis session delete --user ada --except @id.txt";

pub(super) const CACHE_HELP: &str = "The cache has to be on a Redis: set `[store] cache` in jarvis.toml, or \
JARVIS_STORE__CACHE=redis://127.0.0.1:6379. The default, memory:, is inside the process that uses it, \
where no command can read it.

Values can be given literally, as - (standard input) or as @FILE.

Exit codes: 0 success, 1 no such key or condition not met, 2 invalid usage, 3 cache unavailable.

Examples:
  jarvis cache set song:42 @song.json --ttl 30m --tag user:ada
  jarvis cache get song:42
  jarvis cache invalidate --tag user:ada
  jarvis cache incr plays:42 --ttl 24h";

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Create a session and print its id
    #[command(after_help = "The id is printed once; no other command shows it again.

Examples:
  jarvis session create
  jarvis session create --user ada --ttl 30m '{\"project\":\"demo\"}'")]
    Create {
        /// The data: a JSON object, - or @FILE; {} if omitted
        #[arg(value_name = "DATA", default_value = "{}", hide_default_value = true)]
        data: Input,
        /// The user that the session belongs to
        #[arg(long, value_name = "USER")]
        user: Option<UserId>,
        /// Time to live; by default `[session] ttl` (1h)
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        ttl: Option<Duration>,
        /// Use this id instead of a new one: ID, - or @FILE
        #[arg(long, value_name = "ID")]
        id: Option<Input>,
    },
    /// Print a session and its data
    Get {
        /// The session: ID, - or @FILE
        #[arg(value_name = "ID")]
        session: Input,
    },
    /// Change the data of a session
    #[command(
        after_help = "DATA is applied as a JSON merge patch (RFC 7396): objects are merged key by key, null removes a \
key, and any other value replaces the old one. Keys that DATA does not name keep their value, even \
if another program changes them at the same time. --replace stores DATA as it is.

With --version N, the session is changed only if its version is still N (shown by `get`). Otherwise \
nothing is changed and the exit code is 1.

Each change extends the session by its time to live.

Examples:
  jarvis session set @id.txt '{\"takes\":3,\"draft\":null}'
  jarvis session set @id.txt @session.json --replace --version 4"
    )]
    Set(SessionSetArgs),
    /// List the sessions of a user, or of all users, without ids and data
    List {
        /// Only sessions of this user
        #[arg(long, value_name = "USER")]
        user: Option<UserId>,
        /// List at most N sessions
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: usize,
    },
    /// Postpone the expiry of a session
    Extend {
        /// The session: ID, HANDLE, - or @FILE
        #[arg(value_name = "SESSION")]
        session: Input,
        /// Time to live from now; by default the session's own
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        ttl: Option<Duration>,
    },
    /// Give a session a new id and print it
    #[command(
        after_help = "Do this at each login and each change of rights, so that an id that somebody planted or saw before \
becomes useless. The old id stops working; the data is kept. The new id is printed once.

Example:
  jarvis session regenerate @id.txt --user ada"
    )]
    Regenerate {
        /// The session: ID, - or @FILE
        #[arg(value_name = "ID")]
        session: Input,
        /// The user that the session belongs to from now on; by default the current one
        #[arg(long, value_name = "USER")]
        user: Option<UserId>,
    },
    /// Delete sessions: the given ones, or those of a user
    #[command(after_help = "Examples:
  jarvis session delete @id.txt
  jarvis session delete --user ada
  jarvis session delete --user ada --except @id.txt")]
    Delete(DeleteArgs),
    /// The same as `jarvis session delete --user`
    #[command(hide = true)]
    Clear(ClearArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The sessions: each an ID, HANDLE, - or @FILE
    #[arg(value_name = "SESSION", required_unless_present = "user", conflicts_with = "user")]
    pub(crate) sessions: Vec<Input>,
    /// All sessions of this user
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<UserId>,
    /// With --user: keep this session: ID, HANDLE, - or @FILE
    #[arg(long, value_name = "SESSION", requires = "user")]
    pub(crate) except: Option<Input>,
}

#[derive(Debug, Args)]
pub(crate) struct ClearArgs {
    /// All sessions of this user
    #[arg(long, value_name = "USER")]
    pub(crate) user: UserId,
    /// Keep this session: ID, HANDLE, - or @FILE
    #[arg(long, value_name = "SESSION")]
    pub(crate) except: Option<Input>,
}

#[derive(Debug, Args)]
pub(crate) struct SessionSetArgs {
    /// The session: ID, - or @FILE
    #[arg(value_name = "ID")]
    pub(crate) session: Input,
    /// A JSON object, - or @FILE
    #[arg(value_name = "DATA")]
    pub(crate) data: Input,
    /// Only if the session still has this version
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u64>,
    /// Replace all data instead of merging
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Print a value
    #[command(
        after_help = "The value is printed byte for byte; on a terminal a line break is added. --output json also gives the \
time to live, and a value that is not UTF-8 as `value_base64`.

Examples:
  jarvis cache get song:42
  jarvis cache get cover:42 > cover.png"
    )]
    Get {
        /// The key to read
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Store a value
    #[command(after_help = "Examples:
  jarvis cache set song:42 '{\"bpm\":120}' --ttl 30m --tag user:ada
  jarvis cache set cover:42 @cover.png --persist
  jarvis cache set lock:42 me --ttl 10s --nx")]
    Set(CacheSetArgs),
    /// Delete keys
    #[command(alias = "del")]
    Delete {
        /// The keys to delete
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },
    /// Delete all keys that have a tag or match a pattern, or all keys
    #[command(
        after_help = "A tag takes the same short time however many keys have it, so their number is not reported. A \
pattern visits every key of the server in small steps and counts the deleted ones: * matches \
anything, ? one character, [a-z] one of these characters.

Examples:
  jarvis cache invalidate --tag user:ada
  jarvis cache invalidate --pattern 'song:*'"
    )]
    #[group(required = true, multiple = false)]
    Invalidate {
        /// All keys with this tag
        #[arg(long, value_name = "TAG")]
        tag: Option<String>,
        /// All keys that match this pattern
        #[arg(long, value_name = "PATTERN")]
        pattern: Option<String>,
        /// All keys of the namespace
        #[arg(long)]
        all: bool,
    },
    /// Show the statistics of the cache server: keys, memory, hits, evictions
    Stats,
    /// Add to a number and print the sum
    #[command(after_help = "A missing key counts as 0.

Examples:
  jarvis cache incr plays:42 --ttl 24h
  jarvis cache incr credits:ada --by -5")]
    Incr {
        /// The key of the number
        #[arg(value_name = "KEY")]
        key: String,
        /// The amount to add; a negative one subtracts
        #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
        by: i64,
        /// Time to live if the key is new; by default `[cache] ttl` (5m)
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        ttl: Option<Duration>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CacheSetArgs {
    /// The key to store the value under
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    /// The value: VALUE, - or @FILE
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    pub(crate) value: Input,
    /// Time to live; by default `[cache] ttl` (5m)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) ttl: Option<Duration>,
    /// Store without a time to live; the server may still evict the key
    #[arg(long, conflicts_with = "ttl")]
    pub(crate) persist: bool,
    /// Only if the key does not exist
    #[arg(long)]
    pub(crate) nx: bool,
    /// Only if the key exists
    #[arg(long, conflicts_with = "nx")]
    pub(crate) xx: bool,
    /// Tag the key, for `cache invalidate --tag`; may be given up to 4 times
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
}

//! `jarvis session` and `jarvis cache` as types.

use std::time::Duration;

use clap::{Args, Subcommand};
use jarvis_core::units::parse_duration;
use jarvis_core::vocabulary::UserId;

use crate::input::Input;

pub(super) const SESSION_HELP: &str =
    "Sessions are kept in jarvis.db in the state directory, unless [store] session (or
$JARVIS_STORE__SESSION) names another place, such as redis://127.0.0.1:6379.

SESSION is an id (what the visitor's cookie holds) or a handle (what `list` shows): a handle can
end or prolong a session, and does not open it. An id is shown when it is made, and never again.
Ids and data are given as they are, as - (standard input) or as @FILE; on a machine with other
users, who can see command lines, use the latter two.

Exit codes: 0 done, 1 no such session or somebody else saved first, 2 wrong usage, 3 the store
can't be reached.

Examples:
  jarvis session create --user ada --ttl 30m '{\"project\":\"demo\"}'
  jarvis session get @id.txt --output json
  jarvis session set @id.txt '{\"takes\":3,\"draft\":null}'
  jarvis session list --user ada
  jarvis session clear --user ada --except @id.txt";

pub(super) const CACHE_HELP: &str =
    "The cache has to be on a server that others use too: set [store] cache in jarvis.toml, or
JARVIS_STORE__CACHE=redis://127.0.0.1:6379. The memory of a process (memory:, the default) can't be
looked into from here.

Values are given as they are, as - (standard input) or as @FILE.

Exit codes: 0 done, 1 no such key or the condition did not hold, 2 wrong usage, 3 the cache can't
be reached.

Examples:
  jarvis cache set song:42 @song.json --ttl 30m --tag user:ada
  jarvis cache get song:42
  jarvis cache invalidate --tag user:ada
  jarvis cache incr plays:42 --ttl 24h";

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Make a session, and print its id: this once
    Create {
        /// What it holds: a JSON object, - or @FILE
        #[arg(value_name = "DATA", default_value = "{}", hide_default_value = true)]
        data: Input,
        /// Whose it is
        #[arg(long, value_name = "USER")]
        user: Option<UserId>,
        /// How long it lives; the policy's time unless told (1h)
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        ttl: Option<Duration>,
        /// An id that a framework made, instead of a fresh one: itself, - or @FILE
        #[arg(long, value_name = "ID")]
        id: Option<Input>,
    },
    /// Show a session and what it holds
    Get {
        /// Its id: itself, - or @FILE
        #[arg(value_name = "ID")]
        session: Input,
    },
    /// Change what a session holds
    #[command(
        after_help = "Without --replace, DATA is merged into what is there, as a JSON merge patch (RFC 7396): objects
are merged key by key, null removes a key, anything else is put in its place. Whatever others
save at the same time is kept; keys that DATA does not name are not touched.

With --version N it is a compare-and-swap: done if the session is still at version N (`get` shows
it), else nothing is changed and the exit code is 1.

Either prolongs the session by its time to live.

Examples:
  jarvis session set @id.txt '{\"takes\":3,\"draft\":null}'
  jarvis session set @id.txt @session.json --replace --version 4"
    )]
    Set(SessionSetArgs),
    /// The sessions of a user, or all, without their ids and data
    List {
        /// Only of this user
        #[arg(long, value_name = "USER")]
        user: Option<UserId>,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: usize,
    },
    /// Let a session live longer, from now
    Extend {
        /// Its id or handle: itself, - or @FILE
        #[arg(value_name = "SESSION")]
        session: Input,
        /// How long from now; its own time to live unless told
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        ttl: Option<Duration>,
    },
    /// Give a session a fresh id, and print it: this once
    #[command(
        after_help = "For a login, or any other change of rights: an id that somebody planted or saw before is worth
nothing then. The old id is gone, and what the session holds moves along.

Examples:
  jarvis session regenerate @id.txt --user ada"
    )]
    Regenerate {
        /// Its id: itself, - or @FILE
        #[arg(value_name = "ID")]
        session: Input,
        /// Whose it is from now on
        #[arg(long, value_name = "USER")]
        user: Option<UserId>,
    },
    /// End sessions
    Delete {
        /// Their ids or handles: themselves, - or @FILE
        #[arg(value_name = "SESSION", required = true)]
        sessions: Vec<Input>,
    },
    /// End the sessions of a user: all, or all but one
    Clear {
        /// Whose
        #[arg(long, value_name = "USER")]
        user: UserId,
        /// The id or handle of the session to keep: itself, - or @FILE
        #[arg(long, value_name = "SESSION")]
        except: Option<Input>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SessionSetArgs {
    /// Its id: itself, - or @FILE
    #[arg(value_name = "ID")]
    pub(crate) session: Input,
    /// A JSON object, - or @FILE
    #[arg(value_name = "DATA")]
    pub(crate) data: Input,
    /// Only if it is still at this version
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u64>,
    /// Put DATA in place of all that is there, instead of merging it
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Print the value of a key as it is
    #[command(
        after_help = "The value is printed byte for byte; on a terminal a line end is added. --output json says when it
runs out, and holds what is no UTF-8 as `value_base64`."
    )]
    Get {
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Store a value
    Set(CacheSetArgs),
    /// Remove keys
    Del {
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },
    /// Remove all that has a tag, matches a pattern, or is there at all
    #[command(
        after_help = "A tag is the fast way: it takes the same short time however much has it, so that it can't say how
much that was. A pattern looks at every key of the server (without holding up others) and counts.
* stands for anything, ? for one character, [a-z] for one of these.

Examples:
  jarvis cache invalidate --tag user:ada
  jarvis cache invalidate --pattern 'song:*'"
    )]
    #[group(required = true, multiple = false)]
    Invalidate {
        /// All that has this tag
        #[arg(long, value_name = "TAG")]
        tag: Option<String>,
        /// All whose key matches this
        #[arg(long, value_name = "PATTERN")]
        pattern: Option<String>,
        /// All of the namespace
        #[arg(long)]
        all: bool,
    },
    /// What the server says of itself: entries, memory, hits, evictions
    Stats,
    /// Add to a number and print the sum
    Incr {
        #[arg(value_name = "KEY")]
        key: String,
        /// How much; less than nothing subtracts
        #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
        by: i64,
        /// How long a number lives that this begins; the policy's time unless told (5m)
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        ttl: Option<Duration>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CacheSetArgs {
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    /// The value: itself, - or @FILE
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    pub(crate) value: Input,
    /// How long it lives; the policy's time unless told (5m)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) ttl: Option<Duration>,
    /// Keep it until it is deleted or the server needs the room
    #[arg(long, conflicts_with = "ttl")]
    pub(crate) persist: bool,
    /// Only if there is no such key
    #[arg(long)]
    pub(crate) nx: bool,
    /// Only if there is such a key
    #[arg(long, conflicts_with = "nx")]
    pub(crate) xx: bool,
    /// What it can be invalidated by; up to 4 times
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
}

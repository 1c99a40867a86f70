//! What happens on the server, each in one step. How a session lies there is told in
//! [`packed`](super::packed), from where the numbers of bytes below are (Lua counts from 1).
//!
//! A user's index is a sorted set of handles by when they expire, or a little later. Where it lies
//! in the session's slot it is changed in the same step as the session.
//!
//! A script that finds something else than it was told to expect changes nothing and answers with
//! what is stored; what that means is decided by who asked. Numbers are passed as text wherever
//! they can be: the server writes out each number that a script passes on, which takes longer than
//! the command.

use base::store::redis::Script;

/// `PEXPIRE … GT` does nothing to a key without an expiry, because that counts as infinite; a
/// fresh index needs `NX`.
macro_rules! keep_index {
    ($key:literal, $millis:literal) => {
        concat!(
            "if redis.call('PEXPIRE', ",
            $key,
            ", ",
            $millis,
            ", 'GT') == 0 then redis.call('PEXPIRE', ",
            $key,
            ", ",
            $millis,
            ", 'NX') end\n"
        )
    };
}

/// A time in 16 digits. In two halves: whole numbers are written much sooner than others, and have 32
/// bits on some servers.
macro_rules! digits {
    ($time:literal) => {
        concat!("string.format('%08d%08d', ", $time, " / 100000000, ", $time, " % 100000000)")
    };
}

/// Stores a session in place of the one that is believed to be there.
///
/// Keys: session; the index of its user, where that lies in this slot, else the session again; the
/// index of the user that it had before, where that is another one in this slot.
/// Arguments: the session; what is believed to be stored, nothing for no session; the last byte of
/// that; handle; time left; `any` where the belief is of the user alone, whatever the version;
/// `capped` where a session of another creation than is said must not be written, because its end
/// depends on it.
///
/// As long as until when it is kept ([`kept_until`](super::packed::kept_until)) does not change, its key
/// stays to expire when it did.
///
/// Answers with 1; with version and creation where those are not what was said.
pub(super) static SAVE: Script = Script::new(concat!(
    "local sub, new, other = string.sub, ARGV[1], false
     local old, now = redis.call('GETRANGE', KEYS[1], '0', ARGV[3]), tonumber(sub(new, 67, 82))
     local expires, created, good = tonumber(sub(old, 35, 50)), sub(old, 83, 98), false
     if ARGV[2] == '' then
       local tag = sub(old, 1, 2)
       good = tag == '' or tag == 'm1' or (tag == 's1' and expires and expires <= now)
       old = ''
     else
       if ARGV[6] == 'any' then
         good = sub(old, 141) == ARGV[2] and sub(old, 3, 34) ~= sub(new, 3, 34)
       else
         good = sub(old, 125) == ARGV[2]
       end
       good = good and expires and expires > now
     end
     if good and old ~= '' and (ARGV[6] == 'any' or created ~= sub(new, 83, 98)) then
       local version = tonumber(sub(old, 125, 140))
       good = version and tonumber(created) and not (ARGV[7] and created ~= sub(new, 83, 98))
       if good then
         version = string.format('%016.0f', version + 1)
         new = sub(new, 1, 82) .. created .. sub(new, 99, 124) .. version .. sub(new, 141)
         other = {tonumber(version), tonumber(created)}
       end
     end
     if not good then return redis.call('GET', KEYS[1]) end
     local known, user = sub(new, 51, 66), sub(old, 141)
     local kept = sub(old, 51, 66) == known
     if kept then
       redis.call('SET', KEYS[1], new, 'KEEPTTL')
     else
       redis.call('SET', KEYS[1], new, 'PX', ARGV[5])
     end
     if KEYS[3] then redis.call('ZREM', KEYS[3], ARGV[4]) end
     if KEYS[2] ~= KEYS[1] and not (kept and user == sub(new, 141, 140 + #user)) then
       if old == '' then redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', sub(new, 67, 82)) end
       redis.call('ZADD', KEYS[2], known, ARGV[4])
       local left = string.format('%.0f', tonumber(known) - now)
       ",
    keep_index!("KEYS[2]", "left"),
    "end
     return other or 1"
));

/// Keys: session; the index of its user, where that lies in this slot. Arguments: the user that is
/// believed; the last byte of that; handle; now; names the removal; for how long the name stays, so
/// that the same removal, repeated after a lost answer, knows its own doing.
///
/// Answers with 1, with nothing where there was none.
pub(super) static REMOVE: Script = Script::new(
    "local old = redis.call('GETRANGE', KEYS[1], '0', ARGV[2])
     local tag = string.sub(old, 1, 2)
     if tag == 'm1' and string.sub(old, 3) == ARGV[5] then return 1 end
     if tag == '' or tag == 'm1' then return false end
     if tag ~= 's1' or string.sub(old, 141) ~= ARGV[1] then return redis.call('GET', KEYS[1]) end
     if KEYS[2] then redis.call('ZREM', KEYS[2], ARGV[3]) end
     if (tonumber(string.sub(old, 35, 50)) or math.huge) <= tonumber(ARGV[4]) then
       redis.call('DEL', KEYS[1])
       return false
     end
     redis.call('SET', KEYS[1], 'm1' .. ARGV[5], 'PX', ARGV[6])
     return 1",
);

/// Prolongs a session. As long as that does not change until when it is kept
/// ([`kept_until`](super::packed::kept_until)), neither the expiry of its key nor an index is written,
/// and nothing need be known of it. Else its user must be the one who is believed.
///
/// Keys: session; the index of the user that is believed, where that lies in this slot. Arguments: now;
/// ttl, or nothing for its own; cap, or nothing; the last byte to read: -1 where the session is asked
/// for too, else that of the user that is believed; that user; handle.
///
/// Answers with the time when it expires, where it is asked for with the session as it was before; with
/// nothing where there is none.
pub(super) static EXTEND: Script = Script::new(concat!(
    "local sub, old, now = string.sub, redis.call('GETRANGE', KEYS[1], '0', ARGV[4]), tonumber(ARGV[1])
     local tag = sub(old, 1, 2)
     if tag == '' or tag == 'm1' then return false end
     local expires, known = tonumber(sub(old, 35, 50)), tonumber(sub(old, 51, 66))
     local ttl, cap = tonumber(ARGV[2]) or tonumber(sub(old, 99, 114)), tonumber(ARGV[3])
     local created = not cap or tonumber(sub(old, 83, 98))
     if tag ~= 's1' or not (expires and known and created and ttl) then
       return redis.call('GET', KEYS[1])
     end
     if expires <= now then return false end
     expires = now + ttl
     if cap and created + cap < expires then expires = created + cap end
     local step = ttl / 8
     step = step < 1 and 1 or step - step % 1
     local kept = expires + -expires % step
     if kept == known then
       redis.call('SETRANGE', KEYS[1], '34', ",
    digits!("expires"),
    ")
     elseif sub(old, 141, 140 + #ARGV[5]) ~= ARGV[5] then
       return redis.call('GET', KEYS[1])
     else
       local left = string.format('%.0f', kept - now)
       known = ",
    digits!("kept"),
    "
       redis.call('SETRANGE', KEYS[1], '34', ",
    digits!("expires"),
    " .. known)
       redis.call('PEXPIRE', KEYS[1], left)
       if KEYS[2] then
         redis.call('ZADD', KEYS[2], known, ARGV[6])
         ",
    keep_index!("KEYS[2]", "left"),
    "  end
     end
     if ARGV[4] == '-1' then return {old, expires} end
     return expires"
));

/// Takes a session away because its content is stored under another id, and stores it there where that
/// lies in the same slot.
///
/// Keys: session; the index of its user where that lies in this slot, else the session again; and
/// where it is to be stored here, the other session and the index of its user, or that session again.
/// Arguments: what is believed to be stored; the last byte of that; handle; now; names the move; for
/// how long the name stays; the other session, its handle, and the time that it has left.
///
/// Answers with 1, with nothing where there was none.
pub(super) static MOVE: Script = Script::new(concat!(
    "local old = redis.call('GETRANGE', KEYS[1], '0', ARGV[2])
     local tag, now = string.sub(old, 1, 2), tonumber(ARGV[4])
     if tag == 'm1' and string.sub(old, 3) == ARGV[5] then return 1 end
     if tag == '' or tag == 'm1' then return false end
     if tag ~= 's1' or string.sub(old, 125) ~= ARGV[1] then return redis.call('GET', KEYS[1]) end
     if (tonumber(string.sub(old, 35, 50)) or math.huge) <= now then return false end
     redis.call('SET', KEYS[1], 'm1' .. ARGV[5], 'PX', ARGV[6])
     if KEYS[2] ~= KEYS[1] then redis.call('ZREM', KEYS[2], ARGV[3]) end
     if not KEYS[3] then return 1 end
     redis.call('SET', KEYS[3], ARGV[7], 'PX', ARGV[9])
     if KEYS[4] ~= KEYS[3] then
       local known = string.sub(ARGV[7], 51, 66)
       redis.call('ZADD', KEYS[4], known, ARGV[8])
       local left = string.format('%.0f', tonumber(known) - now)
       ",
    keep_index!("KEYS[4]", "left"),
    "end
     return 1"
));

/// Enters a session of another slot into an index, before the session itself is written: the
/// index may know too much for a moment, and never too little. The mark keeps [`DROP`] from taking
/// it out until it is certain that the write came or never will.
///
/// Keys: index, mark. Arguments: now, handle, until, for how long.
pub(super) static ENTER: Script = Script::new(concat!(
    "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
     redis.call('ZADD', KEYS[1], 'GT', ARGV[3], ARGV[2])
     ",
    keep_index!("KEYS[1]", "ARGV[4]"),
    "redis.call('SET', KEYS[2], '1', 'PX', '30000')
     return 1"
));

/// Takes handles out of an index that are no sessions of its user.
///
/// Keys: index; for each handle the key that keeps it in while it exists: its session's where that
/// lies in this slot, else its mark. Arguments: handles.
pub(super) static DROP: Script = Script::new(
    "for i = 1, #ARGV do
       if redis.call('EXISTS', KEYS[i + 1]) == 0 then redis.call('ZREM', KEYS[1], ARGV[i]) end
     end
     return 1",
);

/// The handles in an index. Keys: index. Arguments: now.
pub(super) static MEMBERS: Script = Script::new(
    "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
     return redis.call('ZRANGE', KEYS[1], '0', '-1')",
);

//! What happens on the server, each in one step. A session is a hash:
//!
//! | field | |
//! |---|---|
//! | `v` | version |
//! | `d` | data |
//! | `u` | user, empty for nobody |
//! | `c`, `w`, `e` | created, written, expires: milliseconds since 1970 by our clocks |
//! | `t` | time to live in milliseconds |
//! | `m` | meta |
//! | `n` | names the save that wrote it, so that one whose answer was lost can be repeated |
//! | `x` | alone: names the move to another id that took it away, for a minute |
//!
//! A user's index is a sorted set of handles by when they expire. Where it lies in the session's
//! slot it is changed in the same step as the session.

use crate::store::redis::Script;

/// `PEXPIRE … GT` does nothing to a key without an expiry, because that counts as infinite; a
/// fresh index needs `NX`.
macro_rules! keep_index {
    () => {
        "local function keep(key, ms)
           if redis.call('PEXPIRE', key, ms, 'GT') == 0 then redis.call('PEXPIRE', key, ms, 'NX') end
         end
        "
    };
}

/// Keys: session, index of its present user, index of its next user; where an index lies in
/// another slot, the session in its place. See [`super::Redis::swap`] for the arguments.
pub(super) static SAVE: Script = Script::new(concat!(
    keep_index!(),
    "local now, ttl, cap = tonumber(ARGV[1]), tonumber(ARGV[4]), tonumber(ARGV[5])
     local s = redis.call('HMGET', KEYS[1], 'v', 'e', 'u', 'c', 'n', 'w')
     local v = s[1]
     if v and s[5] == ARGV[3] then return {'stored', v, s[4], s[6], s[2]} end
     if v and tonumber(s[2]) <= now then v = false end
     local want = ARGV[2]
     if (want == 'absent' and v) or (v and want ~= 'any' and want ~= v) then
       return {'conflict', redis.call('HMGET', KEYS[1], 'v', 'd', 'u', 'c', 'w', 'e', 't', 'm')}
     end
     if not v and want ~= 'absent' then return {'missing'} end
     local user = v and s[3] or ''
     if user ~= ARGV[7] then return {'user', user, '0'} end
     local created = v and tonumber(s[4]) or tonumber(ARGV[14])
     local version = string.format('%.0f', (v and tonumber(v) or tonumber(ARGV[13])) + 1)
     local expires = now + ttl
     if cap >= 0 and created + cap < expires then expires = created + cap end
     created, expires = string.format('%.0f', created), string.format('%.0f', expires)
     if not v then redis.call('DEL', KEYS[1]) end
     redis.call('HSET', KEYS[1], 'v', version, 'd', ARGV[11], 'u', ARGV[9], 'c', created,
       'w', ARGV[1], 'e', expires, 't', ARGV[4], 'm', ARGV[12], 'n', ARGV[3])
     local left = string.format('%.0f', tonumber(expires) - now)
     redis.call('PEXPIRE', KEYS[1], left)
     if ARGV[8] == '1' and user ~= ARGV[9] then redis.call('ZREM', KEYS[2], ARGV[6]) end
     if ARGV[10] == '1' then
       if not v then redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', ARGV[1]) end
       redis.call('ZADD', KEYS[3], expires, ARGV[6])
       keep(KEYS[3], left)
     end
     return {'stored', version, created, ARGV[1], expires}"
));

/// Keys: session, index. Arguments: now, handle, user, is the index in this slot?
pub(super) static REMOVE: Script = Script::new(
    "local s = redis.call('HMGET', KEYS[1], 'v', 'e', 'u', 't')
     if not s[1] then return {'missing'} end
     if s[3] ~= ARGV[3] then return {'user', s[3], s[4]} end
     redis.call('DEL', KEYS[1])
     if ARGV[4] == '1' then redis.call('ZREM', KEYS[2], ARGV[2]) end
     if tonumber(s[2]) <= tonumber(ARGV[1]) then return {'missing'} end
     return {'removed'}",
);

/// Keys: session, index. Arguments: now, handle, user, is the index in this slot?, ttl or -1, cap
/// or -1.
pub(super) static EXTEND: Script = Script::new(concat!(
    keep_index!(),
    "local now, ttl, cap = tonumber(ARGV[1]), tonumber(ARGV[5]), tonumber(ARGV[6])
     local s = redis.call('HMGET', KEYS[1], 'v', 'e', 'u', 't', 'c')
     if not s[1] or tonumber(s[2]) <= now then return {'missing'} end
     if s[3] ~= ARGV[3] then return {'user', s[3], s[4]} end
     if ttl < 0 then ttl = tonumber(s[4]) end
     local expires, created = now + ttl, tonumber(s[5])
     if cap >= 0 and created + cap < expires then expires = created + cap end
     local left = string.format('%.0f', expires - now)
     expires = string.format('%.0f', expires)
     redis.call('HSET', KEYS[1], 'e', expires)
     redis.call('PEXPIRE', KEYS[1], left)
     if ARGV[4] == '1' then
       redis.call('ZADD', KEYS[2], expires, ARGV[2])
       keep(KEYS[2], left)
     end
     return {'extended', expires}"
));

/// Takes a session away because its content was stored under another id. What stays for a minute
/// tells the same move, repeated after a lost answer, that it was its own doing.
///
/// Keys: session, index. Arguments: now, handle, user, is the index in this slot?, version, move.
pub(super) static TAKE: Script = Script::new(
    "local s = redis.call('HMGET', KEYS[1], 'v', 'e', 'u', 'x')
     if not s[1] then
       if s[4] == ARGV[6] then return {'taken'} end
       return {'missing'}
     end
     if tonumber(s[2]) <= tonumber(ARGV[1]) then return {'missing'} end
     if s[1] ~= ARGV[5] or s[3] ~= ARGV[3] then return {'changed'} end
     redis.call('DEL', KEYS[1])
     redis.call('HSET', KEYS[1], 'x', ARGV[6])
     redis.call('PEXPIRE', KEYS[1], 60000)
     if ARGV[4] == '1' then redis.call('ZREM', KEYS[2], ARGV[2]) end
     return {'taken'}",
);

/// Enters a session of another slot into an index, before the session itself is written: the
/// index may know too much for a moment, and never too little. The mark keeps [`DROP`] from taking
/// it out until it is certain that the write came or never will.
///
/// Keys: index, mark. Arguments: now, handle, until, for how long.
pub(super) static ENTER: Script = Script::new(concat!(
    keep_index!(),
    "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
     redis.call('ZADD', KEYS[1], 'GT', ARGV[3], ARGV[2])
     keep(KEYS[1], ARGV[4])
     redis.call('SET', KEYS[2], '1', 'PX', 30000)
     return {'entered'}"
));

/// Takes handles out of an index that are no sessions of its user. Keys: index, marks. Arguments:
/// handles.
pub(super) static DROP: Script = Script::new(
    "for i = 1, #ARGV do
       if redis.call('EXISTS', KEYS[i + 1]) == 0 then redis.call('ZREM', KEYS[1], ARGV[i]) end
     end
     return {'dropped'}",
);

/// The handles in an index. Keys: index. Arguments: now.
pub(super) static MEMBERS: Script = Script::new(
    "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
     return redis.call('ZRANGE', KEYS[1], 0, -1)",
);

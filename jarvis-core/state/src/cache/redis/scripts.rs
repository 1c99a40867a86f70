//! What has to be atomic, in Lua. Every key is declared, and all of a call lie in one slot.
//!
//! The last two arguments of those that change something are a channel and an announcement; an
//! empty channel announces nothing.

use base::store::redis::Script;

/// The version of a tag, drawn (`ARGV[1]`) where there is none, kept for at least `ARGV[2]` ms; an
/// empty time is without an end. `PEXPIRE … GT` takes no end for the longest time, and so leaves it.
pub(super) static HOLD_TAG: Script = Script::new(
    r"
local version = redis.call('GET', KEYS[1])
if not version then
  version = ARGV[1]
  if ARGV[2] == '' then redis.call('SET', KEYS[1], version)
  else redis.call('SET', KEYS[1], version, 'PX', ARGV[2]) end
elseif ARGV[2] == '' then redis.call('PERSIST', KEYS[1])
else redis.call('PEXPIRE', KEYS[1], ARGV[2], 'GT') end
return version",
);

/// Keeps a tag for longer if it still has this version.
pub(super) static KEEP_TAG: Script = Script::new(
    r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('PERSIST', KEYS[1])
else redis.call('PEXPIRE', KEYS[1], ARGV[2], 'GT') end
return 1",
);

/// Removes a key and announces it.
pub(super) static DROP_TAG: Script = Script::new(
    r"
local dropped = redis.call('UNLINK', KEYS[1])
redis.call('PUBLISH', ARGV[1], ARGV[2])
return dropped",
);

/// `SET` that announces: value, time in ms, `NX` or nothing.
pub(super) static PUT: Script = Script::new(
    r"
local args = {'SET', KEYS[1], ARGV[1]}
if ARGV[2] ~= '' then args[#args + 1] = 'PX'; args[#args + 1] = ARGV[2] end
if ARGV[3] ~= '' then args[#args + 1] = ARGV[3] end
local stored = redis.call(unpack(args))
if not stored then return 0 end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1",
);

/// Stores a value (`ARGV[3]`, time `ARGV[4]` in ms, empty without an end, `keep` as it was) if
/// what is there still is the writing that was seen: `none`, `start` with these bytes, or `whole`.
pub(super) static SWAP: Script = Script::new(
    r"
local seen, there = ARGV[1], nil
if seen == 'none' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
elseif seen == 'start' then
  if redis.call('GETRANGE', KEYS[1], 0, #ARGV[2] - 1) ~= ARGV[2] then return 0 end
elseif redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
if ARGV[4] == 'keep' then redis.call('SET', KEYS[1], ARGV[3], 'KEEPTTL')
elseif ARGV[4] == '' then redis.call('SET', KEYS[1], ARGV[3])
else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end
if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[5], ARGV[6]) end
return 1",
);

/// Removes an entry, and gives its first `ARGV[1]` bytes and the time it had. A load under way loses
/// its ticket.
pub(super) static REMOVE: Script = Script::new(
    r"
local time = redis.call('PTTL', KEYS[1])
local header = redis.call('GETRANGE', KEYS[1], 0, ARGV[1] - 1)
redis.call('UNLINK', KEYS[1], KEYS[2])
if ARGV[2] ~= '' then redis.call('PUBLISH', ARGV[2], ARGV[3]) end
return {time, header}",
);

/// Adds to a bare number, or starts one with the time `ARGV[2]` in ms. The sum is read as text: a
/// number of Lua has 53 bits. `envelope`, `text` and `overflow` say why not.
pub(super) static ADD: Script = Script::new(
    r"
local first = redis.call('GETRANGE', KEYS[1], 0, 0)
if first == '\202' then return 'envelope' end
if first == '' then
  if ARGV[2] == '' then redis.call('SET', KEYS[1], ARGV[1])
  else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
else
  local added = redis.pcall('INCRBY', KEYS[1], ARGV[1])
  if type(added) == 'table' then
    if string.find(added.err, 'overflow') then return 'overflow' end
    return 'text'
  end
end
if ARGV[3] ~= '' then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
return redis.call('GET', KEYS[1])",
);

/// A new time (`ARGV[2]` in ms, empty without an end) for the writing that begins with `ARGV[1]`;
/// for any bare number where that is empty.
pub(super) static EXPIRE: Script = Script::new(
    r"
if ARGV[1] == '' then
  local first = redis.call('GETRANGE', KEYS[1], 0, 0)
  if first == '' or first == '\202' then return 0 end
elseif redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('PERSIST', KEYS[1])
else redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if ARGV[3] ~= '' then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
return 1",
);

/// Takes the turn to load (`ARGV[1]`, for `ARGV[3]` ms) if nobody has it, or this instance
/// (`ARGV[2]`, how its turns begin) does, or who has it gave no sign of life for so long that at most
/// `ARGV[4]` ms are left. Gives who has it, the entry's time and the entry.
pub(super) static BEGIN: Script = Script::new(
    r"
local holder = redis.call('GET', KEYS[2])
if not holder or string.sub(holder, 1, #ARGV[2]) == ARGV[2]
  or redis.call('PTTL', KEYS[2]) <= tonumber(ARGV[4]) then
  holder = ARGV[1]
  redis.call('SET', KEYS[2], holder, 'PX', ARGV[3])
end
return {holder, redis.call('PTTL', KEYS[1]), redis.call('GET', KEYS[1])}",
);

/// Has the turn for that much longer, if it still is ours.
pub(super) static KEEP: Script = Script::new(
    r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])",
);

/// Gives the turn back, if it still is ours.
pub(super) static ABANDON: Script = Script::new(
    r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('UNLINK', KEYS[1])",
);

/// Stores what was loaded in the turn `ARGV[1]`, ours when `ARGV[2]` is 1, and ends it. Only while the
/// turn is that one: a deletion takes it away, and so does who loads next. And not if what is there is
/// another writing than was seen (`ARGV[3]`, `ARGV[4]` as in `SWAP`); what was seen may be gone.
pub(super) static FINISH: Script = Script::new(
    r"
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if ARGV[2] == '1' then redis.call('UNLINK', KEYS[2]) end
if redis.call('EXISTS', KEYS[1]) == 1 then
  if ARGV[3] == 'none' then return 0 end
  if ARGV[3] == 'start' then
    if redis.call('GETRANGE', KEYS[1], 0, #ARGV[4] - 1) ~= ARGV[4] then return 0 end
  elseif redis.call('GET', KEYS[1]) ~= ARGV[4] then return 0 end
end
if ARGV[6] == '' then redis.call('SET', KEYS[1], ARGV[5])
else redis.call('SET', KEYS[1], ARGV[5], 'PX', ARGV[6]) end
if ARGV[7] ~= '' then redis.call('PUBLISH', ARGV[7], ARGV[8]) end
return 1",
);

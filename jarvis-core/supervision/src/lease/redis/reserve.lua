-- ARGV[3] the token, ARGV[4] the intent, ARGV[5] the service, ARGV[6] how long an intent is
-- remembered, ARGV[7] the longest window, ARGV[8] how many of the limits that follow (max, window)
-- are the service's own; the others are over all services.
-- {now, 'granted'}, {now, 'fenced', highest} or {now, 'refused', index of the limit, wait}.
local now = tick()
local highest = field('token') or 0
if tonumber(ARGV[3]) < highest then return {number(now), 'fenced', number(highest)} end
local longest = math.max(field('longest') or 0, tonumber(ARGV[7]))
redis.call('HSET', state, 'token', ARGV[3], 'longest', number(longest))

local keep = now - math.max(longest, tonumber(ARGV[6]))
local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. number(keep))
for _, intent in ipairs(old) do
    redis.call('ZREM', KEYS[2], intent)
    redis.call('HDEL', KEYS[3], intent)
end
if redis.call('ZSCORE', KEYS[2], ARGV[4]) then return {number(now), 'granted'} end

local own = tonumber(ARGV[8])
-- Of several limits the one that stays used up the longest; of two, the later.
local function tightest(times, first, last)
    local index, longest_wait = nil, 0
    for limit = first, last do
        local max, window = tonumber(ARGV[7 + 2 * limit]), tonumber(ARGV[8 + 2 * limit])
        local left = wait(times, now, max, window)
        if left > 0 and left >= longest_wait then index, longest_wait = limit, left end
    end
    return index, longest_wait
end
local index, left = tightest(attempts(ARGV[5], now, longest), 1, own)
if not index then
    index, left = tightest(attempts(nil, now, longest), own + 1, (#ARGV - 8) / 2)
end
if index then return {number(now), 'refused', number(index - 1), number(left)} end
redis.call('ZADD', KEYS[2], number(now), ARGV[4])
redis.call('HSET', KEYS[3], ARGV[4], ARGV[5])
return {number(now), 'granted'}

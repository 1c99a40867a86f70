-- ARGV[3] the holder, ARGV[4] for how long. {now} or {now, token, since}.
local now = tick()
local expires = number(now + tonumber(ARGV[4]))
if in_force(now) then
    if redis.call('HGET', state, 'holder') ~= ARGV[3] then return {number(now)} end
    redis.call('HSET', state, 'expires', expires)
else
    -- The wall clock's milliseconds at least (as in rules.rs): so a token is new also where the
    -- last ones were lost, in a restart without persistence or a failover.
    local since = math.floor(wall / 1000)
    local token = math.max((field('token') or 0) + 1, since)
    redis.call('HSET', state, 'token', number(token), 'holder', ARGV[3], 'held', number(token),
        'since', number(since), 'expires', expires)
end
return {number(now), redis.call('HGET', state, 'held'), redis.call('HGET', state, 'since')}

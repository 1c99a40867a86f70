-- ARGV[3] the holder, ARGV[4] its token, ARGV[5] for how long. {now, 1 or 0}.
local now = tick()
local ours = in_force(now) and redis.call('HGET', state, 'holder') == ARGV[3]
    and redis.call('HGET', state, 'held') == ARGV[4]
if ours then
    redis.call('HSET', state, 'expires', number(now + tonumber(ARGV[5])))
end
return {number(now), ours and 1 or 0}

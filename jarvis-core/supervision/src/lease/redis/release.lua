-- ARGV[3] the holder, ARGV[4] its token. {now}.
local now = tick()
if redis.call('HGET', state, 'holder') == ARGV[3] and redis.call('HGET', state, 'held') == ARGV[4] then
    redis.call('HDEL', state, 'holder', 'held', 'since', 'expires')
end
return {number(now)}

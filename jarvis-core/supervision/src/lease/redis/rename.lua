-- ARGV[3] the service, ARGV[4] its new name; empty: it counts for the global limits only. {now}.
local now = tick()
local services = redis.call('HGETALL', KEYS[3])
for index = 1, #services, 2 do
    if services[index + 1] == ARGV[3] then
        redis.call('HSET', KEYS[3], services[index], ARGV[4])
    end
end
return {number(now)}

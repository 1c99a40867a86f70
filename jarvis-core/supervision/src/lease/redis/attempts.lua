-- KEYS[2] is the time of each intent, KEYS[3] its service.

-- The times of the attempts of a service, or of all, younger than `longest`; oldest first.
local function attempts(service, now, longest)
    local from = '(' .. number(now - longest)
    local found = redis.call('ZRANGEBYSCORE', KEYS[2], from, '+inf', 'WITHSCORES')
    local times = {}
    for index = 1, #found, 2 do
        if service == nil or redis.call('HGET', KEYS[3], found[index]) == service then
            times[#times + 1] = tonumber(found[index + 1])
        end
    end
    return times
end

-- How many of them lie in a window, and how long until one of `max` leaves it; 0 when one more
-- fits. An attempt is out when it is exactly as old as the window.
local function used(times, now, window)
    local count = 0
    for _, time in ipairs(times) do
        if now - time < window then count = count + 1 end
    end
    return count
end

local function wait(times, now, max, window)
    if max == 0 then return math.max(window, 1000) end
    if used(times, now, window) < max then return 0 end
    return math.max(times[#times - max + 1] + window - now, 1)
end

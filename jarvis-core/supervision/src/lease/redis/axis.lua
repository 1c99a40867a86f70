-- The time axis of a lease and its ledger, in microseconds since it was made.
-- KEYS[1] is the state. ARGV[1] and ARGV[2] are the earliest and the latest moment that it can be
-- by the caller's own clock, or -1 where it can't say.
local state = KEYS[1]

local function number(text)
    return string.format('%.0f', text)
end

local function field(name)
    local text = redis.call('HGET', state, name)
    return text and tonumber(text) or nil
end

local clock = redis.call('TIME')
local wall = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

-- Where the axis stands. The server's clock moves it; a step of that clock is cut to what the
-- caller's clock allows, and the axis never goes back.
local function peek()
    local at, last = field('at') or 0, field('wall') or wall
    local earliest, latest = tonumber(ARGV[1]), tonumber(ARGV[2])
    local now = at + math.max(0, wall - last)
    if latest >= 0 and now > latest then now = math.max(at, latest) end
    if now < earliest then now = earliest end
    return now
end

-- Moves the axis to now.
local function tick()
    local now = peek()
    redis.call('HSET', state, 'at', number(now), 'wall', number(wall))
    return now
end

-- Is the lease in force at that time?
local function in_force(now)
    local expires = field('expires')
    return expires ~= nil and expires > now
end

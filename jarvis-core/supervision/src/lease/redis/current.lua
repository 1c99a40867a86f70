-- {now} or {now, holder, token, since}.
local now = peek()
if not in_force(now) then return {number(now)} end
local held = redis.call('HMGET', state, 'holder', 'held', 'since')
return {number(now), held[1], held[2], held[3]}

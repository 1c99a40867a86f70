-- ARGV[3] the service, then the windows. {now, used, ...}.
local now = peek()
local longest = 0
for index = 4, #ARGV do longest = math.max(longest, tonumber(ARGV[index])) end
local times = attempts(ARGV[3], now, longest)
local answer = {number(now)}
for index = 4, #ARGV do
    answer[#answer + 1] = number(used(times, now, tonumber(ARGV[index])))
end
return answer

-- Keeps the leases of a user's jobs while their holder lives. One that was lost is not taken back.
-- KEYS[1] lock:{match:<user>}   ARGV[1] token  ARGV[2] life in ms  ARGV[3..] jobs
-- Reply: how many were kept.
local time = redis.call('TIME')
local ends = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2])
local found = redis.call('HMGET', KEYS[1], unpack(ARGV, 3))
local words = {}
for i, lease in ipairs(found) do
  if lease and string.sub(lease, 1, #ARGV[1]) == ARGV[1] then
    words[#words + 1] = ARGV[i + 2]
    words[#words + 1] = ARGV[1] .. ends
  end
end
if #words > 0 then
  redis.call('HSET', KEYS[1], unpack(words))
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return #words / 2

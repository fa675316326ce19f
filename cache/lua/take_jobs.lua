-- Takes the leases of a user's jobs that nobody holds, and keeps those that the caller holds already. One hash holds
-- them all, by job; each has its own end, so that a holder that dies frees its jobs while another one lives on.
-- KEYS[1] lock:{match:<user>}   ARGV[1] token  ARGV[2] life in ms  ARGV[3..] jobs
-- Reply: for each job 1 (the caller's) or 0 (another's).
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local latest = now + ARGV[2]
local ends = string.format('%.0f', latest)
local found = redis.pcall('HMGET', KEYS[1], unpack(ARGV, 3))
if found.err then  -- a key of another type is replaced
  redis.call('UNLINK', KEYS[1])
  found = {}
  for i = 3, #ARGV do found[i - 2] = false end
end
local taken, words = {}, {}
for i, lease in ipairs(found) do
  local token, until_ms = nil, 0
  if lease then
    token = string.sub(lease, 1, #ARGV[1])
    until_ms = tonumber(string.sub(lease, #ARGV[1] + 1)) or 0
  end
  -- Foreign bytes, and what ends later than a lease can, are nobody's lease.
  local is_held = token ~= ARGV[1] and until_ms > now and until_ms <= latest
  taken[i] = is_held and 0 or 1
  if taken[i] == 1 then
    words[#words + 1] = ARGV[i + 2]
    words[#words + 1] = ARGV[1] .. ends
  end
end
if #words > 0 then
  redis.call('HSET', KEYS[1], unpack(words))
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return taken

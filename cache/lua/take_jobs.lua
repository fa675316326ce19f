-- Takes the leases of a user's jobs that nobody holds. One hash holds them all, by job; each has its own end, so that
-- a holder that dies frees its jobs while another one lives on.
-- KEYS[1] lock:{match:<user>}   ARGV[1] token  ARGV[2] life in ms  ARGV[3..] jobs
-- Reply: the jobs that another holds; the others are the caller's.
local token = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local latest = now + ARGV[2]
local leases = redis.pcall('HGETALL', KEYS[1])  -- as a rule there is none
if leases.err then  -- a key of another type is replaced
  redis.call('UNLINK', KEYS[1])
  leases = {}
end
local is_held = {}
for i = 1, #leases, 2 do
  local until_ms = tonumber(string.sub(leases[i + 1], #token + 1)) or 0
  -- Foreign bytes, and what ends later than a lease can, are nobody's lease.
  is_held[leases[i]] = until_ms > now and until_ms <= latest
end

local others, words, lease = {}, {}, token .. string.format('%.0f', latest)
for i = 3, #ARGV do
  if is_held[ARGV[i]] then
    others[#others + 1] = ARGV[i]
  else
    words[#words + 1] = ARGV[i]
    words[#words + 1] = lease
  end
end
if #words > 0 then
  redis.call('HSET', KEYS[1], unpack(words))
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return others

-- Gives the leases of a user's jobs back, those that are still the caller's.
-- KEYS[1] lock:{match:<user>}   ARGV[1] token  ARGV[2..] jobs
-- Reply: how many were given back.
local found = redis.call('HMGET', KEYS[1], unpack(ARGV, 2))
local mine = {}
for i, lease in ipairs(found) do
  if lease and string.sub(lease, 1, #ARGV[1]) == ARGV[1] then mine[#mine + 1] = ARGV[i + 1] end
end
if #mine == 0 then return 0 end
return redis.call('HDEL', KEYS[1], unpack(mine))

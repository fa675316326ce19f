-- Gives back all leases of a user's jobs that are the caller's.
-- KEYS[1] lock:{match:<user>}   ARGV[1] token
-- Reply: how many were given back.
local leases, mine = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #leases, 2 do
  if string.sub(leases[i + 1], 1, #ARGV[1]) == ARGV[1] then mine[#mine + 1] = leases[i] end
end
if #mine == 0 then return 0 end
if #mine * 2 == #leases then redis.call('DEL', KEYS[1]) else redis.call('HDEL', KEYS[1], unpack(mine)) end
return #mine

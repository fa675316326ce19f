-- Replaces a user's whole hash by one that the caller has packed, if it still holds just what was read: so nothing
-- that was written since then is lost, and a user who was invalidated since then, generation included, is refused.
-- KEYS[1] match:{user_id}
-- ARGV[1] the fields and values that were read, joined  ARGV[2] TTL in seconds  ARGV[3] the hash, as RESTORE takes it
-- Reply: 1 replaced; 0 not, and fill_scores has to decide: the hash is another, or the server does not take this one.
local found = redis.pcall('HGETALL', KEYS[1])
if found.err or table.concat(found) ~= ARGV[1] then return 0 end
local restored = redis.pcall('RESTORE', KEYS[1], ARGV[2] * 1000, ARGV[3], 'REPLACE')
return restored.err and 0 or 1

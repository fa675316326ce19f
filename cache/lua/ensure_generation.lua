-- The user's generation; installs the given one where there is none (a cold, evicted or invalidated user).
-- It must exist before the origin is read, so that an invalidation in between has something to remove.
-- A key of another type (the other layout's, or somebody else's) is replaced, as are bytes that are no generation.
-- KEYS[1] match:{user_id}   ARGV[1] fresh nonce   ARGV[2] TTL in seconds   ARGV[3] 1 for layout hash, 0 for keys
-- Reply: the generation in force.
local in_hash = ARGV[3] == '1'
local found
if in_hash then found = redis.pcall('HGET', KEYS[1], 'g') else found = redis.pcall('GET', KEYS[1]) end
if type(found) == 'string' and #found == #ARGV[1] then return found end
if found then redis.call('UNLINK', KEYS[1]) end
if in_hash then redis.call('HSET', KEYS[1], 'g', ARGV[1]) else redis.call('SET', KEYS[1], ARGV[1]) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return ARGV[1]

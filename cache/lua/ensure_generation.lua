-- The user's generation; installs the given one where there is none (a cold, evicted or invalidated user).
-- It must exist before the origin is read, so that an invalidation in between has something to remove.
-- KEYS[1] match:{user_id}   ARGV[1] fresh nonce   ARGV[2] TTL in seconds   ARGV[3] 1 for layout hash, 0 for keys
-- Reply: the generation in force.
if ARGV[3] == '1' then
  local found = redis.call('HGET', KEYS[1], 'g')
  if found then return found end
  redis.call('HSET', KEYS[1], 'g', ARGV[1])
else
  local found = redis.call('GET', KEYS[1])
  if found then return found end
  redis.call('SET', KEYS[1], ARGV[1])
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return ARGV[1]

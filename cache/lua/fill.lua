-- Stores a computed value, if the writer still holds the lease: one that was paused and lost it, or whose key was
-- invalidated meanwhile (which deletes the lease), is refused. Gives the lease back.
-- KEYS[1] key  KEYS[2] its lease   ARGV[1] token  ARGV[2] value  ARGV[3] TTL in seconds
-- Reply: 1 written, 0 refused.
if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then return 0 end  -- a key of another type is nobody's lease
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1

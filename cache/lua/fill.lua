-- Stores a computed value, if the writer still holds the lease: one that was paused and lost it, or whose key was
-- invalidated meanwhile (which deletes the lease), is refused. Gives the lease back.
-- KEYS[1] key  KEYS[2] its lease   ARGV[1] token  ARGV[2] value  ARGV[3] TTL in seconds
-- Reply: 1 written, 0 refused.
local holder = redis.pcall('GET', KEYS[2])  -- a key of another type is nobody's lease
if holder ~= ARGV[1] then
  if type(holder) == 'string' then redis.call('DEL', KEYS[1]) end  -- who took it over has yet to store: this is old
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1

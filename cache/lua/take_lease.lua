-- Takes a lease that nobody holds. What has no TTL, or a longer one than a lease has, is none of the library's: bytes
-- that somebody else left there are replaced, since nobody would ever give them back.
-- KEYS[1] lease   ARGV[1] token  ARGV[2] life in ms
-- Reply: 1 taken, 0 another holds it.
local left_ms = redis.call('PTTL', KEYS[1])
if left_ms >= 0 and left_ms <= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1

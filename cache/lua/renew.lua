-- Keeps a lease while its holder lives, if it is still the holder's.
-- KEYS[1] lease   ARGV[1] token  ARGV[2] life in ms
-- Reply: 1 kept, 0 lost.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])

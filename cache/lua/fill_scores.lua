-- Writes scores into a user's hash, unless the user was invalidated since the generation was read: then the
-- hash, and the generation in it, are gone or new. Closes the race of an invalidation with a compute in flight.
-- A write of at least a quarter of the hash also drops what has expired, so that dead scores do not pile up in
-- a hash whose TTL every write renews; past the limit the scores that expire first go. Where nothing but the
-- generation lies beside what was written, as after a first warming, there is nothing to look for.
-- KEYS[1] match:{user_id}
-- ARGV[1] generation  ARGV[2] TTL in seconds  ARGV[3] now  ARGV[4] most scores
--   ARGV[5] MessagePack of [field, value, ...]
-- Reply: 0 refused (after one read of the key), else written after that many reads.
local key = KEYS[1]
if redis.call('HGET', key, 'g') ~= ARGV[1] then return 0 end
local fields = cmsgpack.unpack(ARGV[5])
redis.call('HSET', key, unpack(fields))
redis.call('EXPIRE', key, ARGV[2])
local size = redis.call('HLEN', key)
local limit = tonumber(ARGV[4])
local written = #fields / 2
if size <= limit and (size == written + 1 or written * 4 < size) then return 2 end
local now, dead, alive = tonumber(ARGV[3]), {}, {}
local entries = redis.call('HGETALL', key)
for i = 1, #entries, 2 do
  -- Scores have numbers as fields; what the library notes beside them starts with a letter.
  if tonumber(entries[i]) then
    local b1, b2, b3, b4 = string.byte(entries[i + 1], 2, 5)
    local deadline = b4 and ((b1 * 256 + b2) * 256 + b3) * 256 + b4 or 0
    if deadline <= now then
      dead[#dead + 1] = entries[i]
    elseif size > limit then
      alive[#alive + 1] = {deadline, entries[i]}
    end
  end
end
if #alive > limit then
  table.sort(alive, function(a, b) return a[1] < b[1] end)
  for i = 1, #alive - limit do dead[#dead + 1] = alive[i][2] end
end
if #dead > 0 then redis.call('HDEL', key, unpack(dead)) end
return 3

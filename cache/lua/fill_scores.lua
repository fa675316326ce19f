-- Writes scores into a user's hash, unless the user was invalidated since the generation was read: then the
-- hash, and the generation in it, are gone or new. Closes the race of an invalidation with a compute in flight.
-- What a newer release wrote stays as it is: its formats are 5 to 31, the first byte of a score.
-- A write of at least a quarter of the hash also drops what has expired, so that dead scores do not pile up in
-- a hash whose TTL every write renews; past the limit the scores that expire first go. Both before the new ones come:
-- a hash that was once over the server's own limit stays unpacked.
-- KEYS[1] match:{user_id}
-- ARGV[1] generation  ARGV[2] TTL in seconds  ARGV[3] now  ARGV[4] most scores
--   ARGV[5] MessagePack of [field, value, ...]
-- Reply: 0 refused (after one read of the key), else written after that many reads.
local key = KEYS[1]
if redis.pcall('HGET', key, 'g') ~= ARGV[1] then return 0 end  -- a key of another type has none

local function is_newer(value)
  local format = string.byte(value)
  return format and format > 4 and format < 32
end
-- Scores have numbers as fields; what the library notes beside them starts with a letter.
local is_score = tonumber

local fields = cmsgpack.unpack(ARGV[5])
local size = redis.call('HLEN', key)
local limit = tonumber(ARGV[4])
local names, newer, reads = {}, {}, 2
-- Where nothing but the generation is there, as at a first warming, there is nothing to look for.
if size > 1 then
  reads = 3
  for i = 1, #fields, 2 do names[#names + 1] = fields[i] end
end
if size > 1 and #names * 4 < size and size + #names <= limit then
  for i, value in ipairs(redis.call('HMGET', key, unpack(names))) do
    if value and is_newer(value) and is_score(names[i]) then newer[names[i]] = true end
  end
elseif size > 1 then
  local now, is_written, room = tonumber(ARGV[3]), {}, limit - #names
  for _, name in ipairs(names) do is_written[name] = true end
  local dead, alive = {}, {}
  local entries = redis.call('HGETALL', key)
  for i = 1, #entries, 2 do
    local name, value = entries[i], entries[i + 1]
    if is_newer(value) and is_score(name) then
      newer[name] = true
      if not is_written[name] then room = room - 1 end
    elseif not is_written[name] and is_score(name) then
      local b1, b2, b3, b4 = string.byte(value, 2, 5)
      local deadline = b4 and ((b1 * 256 + b2) * 256 + b3) * 256 + b4 or 0
      if deadline <= now then dead[#dead + 1] = name else alive[#alive + 1] = {deadline, name} end
    end
  end
  if #alive > room then
    table.sort(alive, function(a, b) return a[1] < b[1] end)
    for i = 1, math.min(#alive - room, #alive) do dead[#dead + 1] = alive[i][2] end
  end
  if #dead > 0 then redis.call('HDEL', key, unpack(dead)) end
end

if next(newer) then
  local ours = {}
  for i = 1, #fields, 2 do
    if not newer[fields[i]] then
      ours[#ours + 1] = fields[i]
      ours[#ours + 1] = fields[i + 1]
    end
  end
  fields = ours
end
if #fields > 0 then redis.call('HSET', key, unpack(fields)) end
redis.call('EXPIRE', key, ARGV[2])
return reads

-- Writes scores into a user's hash, unless the user was invalidated since the generation was read: then the
-- hash, and the generation in it, are gone or new. Closes the race of an invalidation with a compute in flight.
-- What a newer release wrote stays as it is: the first byte of a score is its format.
-- A write of at least a quarter of the hash also drops what has expired, so that dead scores do not pile up in
-- a hash whose TTL every write renews; past the limit the scores that expire first go. Both before the new ones come:
-- a hash that was once over the server's own limit stays unpacked.
-- KEYS[1] match:{user_id}
-- ARGV[1] generation  ARGV[2] TTL in seconds  ARGV[3] now  ARGV[4] most scores
--   ARGV[5] MessagePack of [field, value, ...]
-- Reply: 0 refused (after two reads of the hash), else written after that many reads of it.
local key = KEYS[1]
local limit = tonumber(ARGV[4])
local NEWER_FROM, NEWER_TO = 5, 31
-- Scores have numbers as fields; what the library notes beside them starts with a letter.
local is_score = tonumber

-- Makes room for scores under `names`, in a walk of the whole hash. Returns the fields that a newer release wrote.
local function tidy(names, size)
  local now, room, newer, is_written = tonumber(ARGV[3]), limit - #names, {}, {}
  for _, name in ipairs(names) do is_written[name] = true end
  local dead, alive, is_crowded = {}, {}, size > room
  local entries = redis.call('HGETALL', key)
  for i = 1, #entries, 2 do
    local name = entries[i]
    local format, b1, b2, b3, b4 = string.byte(entries[i + 1], 1, 5)
    if format and format >= NEWER_FROM and format <= NEWER_TO and is_score(name) then
      newer[name] = true
      if not is_written[name] then room = room - 1 end
    elseif not is_written[name] then
      local deadline = b4 and ((b1 * 256 + b2) * 256 + b3) * 256 + b4 or 0
      if deadline <= now then
        if is_score(name) then dead[#dead + 1] = name end
      elseif is_crowded and is_score(name) then
        alive[#alive + 1] = {deadline, name}
      end
    end
  end
  if #alive > room then
    table.sort(alive, function(a, b) return a[1] < b[1] end)
    for i = 1, math.min(#alive - room, #alive) do dead[#dead + 1] = alive[i][2] end
  end
  if #dead > 0 then redis.call('HDEL', key, unpack(dead)) end
  return newer
end

local fields, names = cmsgpack.unpack(ARGV[5]), {}
local count, size = #fields / 2, tonumber(redis.pcall('HLEN', key)) or 0
if size > 1 then  -- at a first warming the generation is alone
  for i = 1, count do names[i] = fields[2 * i - 1] end
end
local is_small = count * 4 < size and size + count <= limit
-- A key of another type has no generation.
local found = redis.pcall('HMGET', key, 'g', unpack(names, 1, is_small and count or 0))
if found[1] ~= ARGV[1] then return 0 end

local reads, newer = 2, {}
if is_small then
  for i = 1, count do
    local format = found[i + 1] and string.byte(found[i + 1])
    if format and format >= NEWER_FROM and format <= NEWER_TO and is_score(names[i]) then newer[names[i]] = true end
  end
elseif size > 1 then
  reads, newer = 3, tidy(names, size)
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

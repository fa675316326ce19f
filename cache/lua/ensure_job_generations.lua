-- The generations of jobs; installs the given one for each job that has none.
-- KEYS[1] job:generations   ARGV[1] fresh nonce   ARGV[2..] job ids
-- Reply: the generations in force, in the order of the jobs.
local found = redis.pcall('HMGET', KEYS[1], unpack(ARGV, 2))
if found.err then  -- a key of another type is replaced
  redis.call('UNLINK', KEYS[1])
  found = {}
  for i = 2, #ARGV do found[i - 1] = false end
end
local installed = {}
for i, generation in ipairs(found) do
  if not generation or #generation ~= #ARGV[1] then  -- foreign bytes would match no score's stamp, ever
    installed[#installed + 1] = ARGV[i + 1]
    installed[#installed + 1] = ARGV[1]
    found[i] = ARGV[1]
  end
end
if #installed > 0 then redis.call('HSET', KEYS[1], unpack(installed)) end
return found

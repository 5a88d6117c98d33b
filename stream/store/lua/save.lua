-- KEYS: state, names, records, then one bucket of rows after another.
-- ARGV: nonce, number, next number, write id, checkpoint ('' leaves it), names_max, then how many
--   names, records gone and records, then for each bucket how many ids to forget and rows; then
--   hash and text of each name, keys of records gone, key and value of each record, and for each
--   bucket ids to forget, id and bytes of each row.
-- Returns 'saved' and how many names found no room, or 'refused' with nonce, epoch and number.
--
-- Redis takes nothing back when a script fails half way, so whatever can fail is asked first:
-- who owns the partition, what our user may do, and the type of every key.
local STRIDE = 1000 -- values a call, even: a pair stays together; Lua's stack holds 8,000
local HEAD = 9

local held = redis.call('HMGET', KEYS[1], 'nonce', 'epoch', 'number', 'write')
if held[1] ~= ARGV[1] then
  return {'refused', held[1], held[2], held[3]}
end
if held[3] == ARGV[3] and held[4] == ARGV[4] then
  return {'saved', 0} -- the reply of this very write was lost
end
if held[3] ~= ARGV[2] then
  return {'refused', held[1], held[2], held[3]}
end
for _, command in ipairs({'HDEL', 'HEXISTS', 'HSET', 'HSETNX'}) do
  if not redis.acl_check_cmd(command, KEYS[1], 'field', 'value') then
    return redis.error_reply('NOPERM a save needs ' .. command)
  end
end
for key = 2, #KEYS do
  redis.call('HLEN', KEYS[key])
end

local cursor = HEAD + 2 * (#KEYS - 3) + 1
local function take(command, key, count)
  local stop = cursor + count
  while cursor < stop do
    local last = math.min(cursor + STRIDE, stop) - 1
    redis.call(command, key, unpack(ARGV, cursor, last))
    cursor = last + 1
  end
end

local names = redis.call('HLEN', KEYS[2])
local names_max = tonumber(ARGV[6])
local refused = 0
for _ = 1, tonumber(ARGV[7]) do
  if names < names_max then
    names = names + redis.call('HSETNX', KEYS[2], ARGV[cursor], ARGV[cursor + 1])
  elseif redis.call('HEXISTS', KEYS[2], ARGV[cursor]) == 0 then
    refused = refused + 1
  end
  cursor = cursor + 2
end

-- What is written outlives what is forgotten.
take('HDEL', KEYS[3], tonumber(ARGV[8]))
take('HSET', KEYS[3], 2 * tonumber(ARGV[9]))
for bucket = 4, #KEYS do
  local at = HEAD + 2 * (bucket - 4) + 1
  take('HDEL', KEYS[bucket], tonumber(ARGV[at]))
  take('HSET', KEYS[bucket], 2 * tonumber(ARGV[at + 1]))
end

if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[1], 'checkpoint', ARGV[5])
end
redis.call('HSET', KEYS[1], 'number', ARGV[3], 'write', ARGV[4])
return {'saved', refused}

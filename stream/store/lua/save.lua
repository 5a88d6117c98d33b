-- KEYS: state, names, records, domains, members, then one bucket of rows after another.
-- ARGV: nonce, number, next number, write id, checkpoint ('' leaves it), names_max, domains_max,
--   then how many names, records gone, records and rows to count, then for each bucket how many
--   ids to forget and rows; then hash and text of each name, keys of records gone, key and value
--   of each record, for each bucket ids to forget, id and bytes of each row, and at last id and
--   trust domain of each row to count.
-- Returns 'saved' and how many names found no room, or 'refused' with nonce, epoch and number.
--
-- Redis takes nothing back when a script fails half way, so whatever can fail is asked first:
-- who owns the partition, what our user may do, and the type of every key.
local STRIDE = 1000 -- values a call, even: a pair stays together; Lua's stack holds 8,000
local FIXED = 5
local HEAD = 11
local OTHERS = string.rep('\0', 8) -- the trust domains beyond domains_max, counted together

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
for _, command in ipairs({'HDEL', 'HEXISTS', 'HGET', 'HSET', 'HSETNX'}) do
  if not redis.acl_check_cmd(command, KEYS[1], 'field', 'value') then
    return redis.error_reply('NOPERM a save needs ' .. command)
  end
end
for key = 2, #KEYS do
  redis.call('HLEN', KEYS[key])
end

local cursor = HEAD + 2 * (#KEYS - FIXED) + 1
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
for _ = 1, tonumber(ARGV[8]) do
  if names < names_max then
    names = names + redis.call('HSETNX', KEYS[2], ARGV[cursor], ARGV[cursor + 1])
  elseif redis.call('HEXISTS', KEYS[2], ARGV[cursor]) == 0 then
    refused = refused + 1
  end
  cursor = cursor + 2
end

-- How many rows more, or fewer, are counted under a trust domain.
local changes = {}
local function leave(count)
  local first, stop = cursor, cursor + count
  while first < stop do
    local last = math.min(first + STRIDE, stop) - 1
    for _, domain in ipairs(redis.call('HMGET', KEYS[5], unpack(ARGV, first, last))) do
      if domain then
        changes[domain] = (changes[domain] or 0) - 1
      end
    end
    redis.call('HDEL', KEYS[5], unpack(ARGV, first, last))
    first = last + 1
  end
end

local function count()
  for domain, change in pairs(changes) do
    -- Not HINCRBY, which would stop half way at what is no number.
    local before = string.match(redis.call('HGET', KEYS[4], domain) or '', '^%d+$')
    local now = (tonumber(before) or 0) + change
    if now > 0 then
      redis.call('HSET', KEYS[4], domain, string.format('%d', now))
    else
      redis.call('HDEL', KEYS[4], domain)
    end
  end
  changes = {}
end

-- What is written outlives what is forgotten.
take('HDEL', KEYS[3], tonumber(ARGV[9]))
take('HSET', KEYS[3], 2 * tonumber(ARGV[10]))
for bucket = FIXED + 1, #KEYS do
  local at = HEAD + 2 * (bucket - FIXED - 1) + 1
  leave(tonumber(ARGV[at]))
  take('HDEL', KEYS[bucket], tonumber(ARGV[at]))
  take('HSET', KEYS[bucket], 2 * tonumber(ARGV[at + 1]))
end

count()
local known, places = redis.call('HLEN', KEYS[4]), {}
for _ = 1, tonumber(ARGV[11]) do
  local id, domain = ARGV[cursor], ARGV[cursor + 1]
  if redis.call('HEXISTS', KEYS[5], id) == 0 then
    local place = places[domain]
    if not place then
      place = domain
      if redis.call('HEXISTS', KEYS[4], domain) == 0 then
        if known < tonumber(ARGV[7]) then
          known = known + 1
        else
          place = OTHERS
        end
      end
      places[domain] = place
    end
    redis.call('HSET', KEYS[5], id, place)
    changes[place] = (changes[place] or 0) + 1
  end
  cursor = cursor + 2
end
count()

if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[1], 'checkpoint', ARGV[5])
end
redis.call('HSET', KEYS[1], 'number', ARGV[3], 'write', ARGV[4])
return {'saved', refused}

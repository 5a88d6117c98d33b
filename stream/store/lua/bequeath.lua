-- KEYS: the parent's state, the child's state, the child's records.
-- ARGV: the parent's nonce, number, next number and write id, '1' to begin with no records, how
--   many records there must be for the child to be born ('' while more are to come), its
--   checkpoint, then key and value of each record.
-- Returns 'written', 'born' where the child has a checkpoint, 'incomplete' where records are
--   missing or too many, or 'refused' with nonce, epoch and number.
--
-- A child is born with its checkpoint, and never twice: what is written before that may be written
-- again. It is a write of the parent's, with a number as any other: a store that falls back to
-- before it is then older than what the parent's owner knows, who notices, and bears once more.
local STRIDE = 1000 -- values a call, even: a pair stays together; Lua's stack holds 8,000
local HEAD = 7

local held = redis.call('HMGET', KEYS[1], 'nonce', 'epoch', 'number', 'write')
if held[1] ~= ARGV[1] then
  return {'refused', held[1], held[2], held[3]}
end
if held[3] == ARGV[3] and held[4] == ARGV[4] then
  return {'written'} -- the reply of this very write was lost
end
if held[3] ~= ARGV[2] then
  return {'refused', held[1], held[2], held[3]}
end
if redis.call('HEXISTS', KEYS[2], 'checkpoint') == 1 then
  return {'born'}
end
redis.call('HLEN', KEYS[3]) -- a key of a wrong type stops here, with nothing changed
if ARGV[5] == '1' then
  redis.call('DEL', KEYS[3])
end
local cursor = HEAD + 1
while cursor <= #ARGV do
  local last = math.min(cursor + STRIDE - 1, #ARGV)
  redis.call('HSET', KEYS[3], unpack(ARGV, cursor, last))
  cursor = last + 1
end
if ARGV[6] ~= '' then
  if redis.call('HLEN', KEYS[3]) ~= tonumber(ARGV[6]) then
    return {'incomplete'}
  end
  redis.call('HSETNX', KEYS[2], 'number', 0)
  redis.call('HSET', KEYS[2], 'checkpoint', ARGV[7])
end
redis.call('HSET', KEYS[1], 'number', ARGV[3], 'write', ARGV[4])
return {'written'}

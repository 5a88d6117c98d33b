-- KEYS: state, records. ARGV: nonce.
-- Makes ARGV[1] the owner and returns epoch, number, checkpoint and all records.
--
-- The records are read in here and not by HSCAN afterwards: a failover between two pages makes
-- the cursor of the old server mean something else on the new one, and records would be missing
-- without a word. They are read before the first write, so that a key of a wrong type stops the
-- script while nothing has changed.
local records = redis.call('HGETALL', KEYS[2])
local held = redis.call('HMGET', KEYS[1], 'nonce', 'number', 'checkpoint')
if held[1] ~= ARGV[1] then
  redis.call('HINCRBY', KEYS[1], 'epoch', 1)
  redis.call('HSET', KEYS[1], 'nonce', ARGV[1])
  redis.call('HSETNX', KEYS[1], 'number', 0)
end
return {redis.call('HGET', KEYS[1], 'epoch'), held[2] or '0', held[3], records}

-- KEYS: state, records. ARGV: nonce, an epoch that the new one must be above, the owner it saw,
-- '1' for a partition that must have been born.
-- Makes ARGV[1] the owner and returns epoch, number, checkpoint and all records. Where another
-- owner than ARGV[3] has claimed meanwhile, it changes nothing and returns its epoch: a claim may
-- arrive late, or once more. Where there is no birth it changes nothing and returns 'unborn'.
--
-- The records are read in here and not by HSCAN afterwards: a failover between two pages makes
-- the cursor of the old server mean something else on the new one, and records would be missing
-- without a word. They are read before the first write, so that a key of a wrong type stops the
-- script while nothing has changed.
local records = redis.call('HGETALL', KEYS[2])
local held = redis.call('HMGET', KEYS[1], 'nonce', 'number', 'checkpoint', 'epoch')
if held[4] and not string.match(held[4], '^%d+$') then
  return redis.error_reply('ERR the stored epoch: value is not an integer')
end
local epoch, above = tonumber(held[4] or '0'), tonumber(ARGV[2])
if held[1] ~= ARGV[1] and (held[1] or '') ~= ARGV[3] then
  return {held[4] or '0'}
end
if ARGV[4] == '1' and not held[3] then
  return {'unborn'}
end
if held[1] ~= ARGV[1] or epoch <= above then
  redis.call('HSET', KEYS[1], 'nonce', ARGV[1], 'epoch', math.max(epoch, above) + 1)
  redis.call('HSETNX', KEYS[1], 'number', 0)
end
return {redis.call('HGET', KEYS[1], 'epoch'), held[2] or '0', held[3], records}

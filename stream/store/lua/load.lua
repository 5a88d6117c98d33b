-- KEYS: state, then one bucket of rows after another.
-- ARGV: how many ids of each bucket, then all ids in the order of the buckets.
-- Returns nonce, epoch, number, then lists of rows that follow one another.
--
-- The state is read with the rows, so that what is read is never older than what it says.
local STRIDE = 1000 -- ids a call: Lua's stack holds 8,000 values
local reply = redis.call('HMGET', KEYS[1], 'nonce', 'epoch', 'number')
local cursor = #KEYS
for bucket = 2, #KEYS do
  local stop = cursor + tonumber(ARGV[bucket - 1])
  while cursor < stop do
    local last = math.min(cursor + STRIDE, stop) - 1
    reply[#reply + 1] = redis.call('HMGET', KEYS[bucket], unpack(ARGV, cursor, last))
    cursor = last + 1
  end
end
return reply

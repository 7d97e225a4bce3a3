-- Makes the departure of a user whose grace has passed. Then claims the user's departures, unless another node
-- has: that one is to have them all, so that they stay in order. Returns those that are this node's.
-- KEYS: presence connections leaving departures claims waiting index dead logmeta log
-- ARGV: user node kept_ms held_s
if redis.call('EXISTS', dead) == 1 then return {'dead'} end
local departs = redis.call('ZSCORE', leaving, user)
if departs and tonumber(departs) <= now_ms() then
  redis.call('ZREM', leaving, user)
  local found = redis.call('HMGET', presence, 'generation', 'cause', 'since', 'departs')
  if found[4] and redis.call('HLEN', connections) == 0 then
    redis.call('RPUSH', departures, table.concat(found, ' '))
    redis.call('DEL', presence)
    keep_log()
  end
end
if redis.call('LLEN', departures) == 0 then
  redis.call('SREM', waiting, user)
  return {'ok'}
end
hold(departures)
local claimer = redis.call('HGET', claims, user)
if claimer and claimer ~= node then
  redis.call('SADD', waiting, user)
  hold(waiting)
  return {'ok'}
end
redis.call('HSET', claims, user, node)
redis.call('SREM', waiting, user)
redis.call('SADD', index, user)
hold(claims, index)
local mine = {'ok'}
for _, departure in ipairs(redis.call('LRANGE', departures, 0, -1)) do mine[#mine + 1] = departure end
return mine

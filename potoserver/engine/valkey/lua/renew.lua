-- A node's heartbeat: renews its lease, declares dead whose lease has lapsed, and comes back through the node's
-- channel. Returns whether the node is one still, the time, the nodes that live, those to be reaped, and what
-- number of renewals of this node was known before.
-- KEYS: nodes leases lost buried renewed
-- ARGV: node joins draining connections renewals lease_ms held_s tombstone_s channel
local now, lease = now_ms(), tonumber(lease_ms)
local last = tonumber(redis.call('GET', renewed) or now)
-- Nobody renewed for a while: it was the engine that paused, or all nodes could not reach it. Then everybody
-- gets a whole lease first. And no lease lasts longer than that, when the engine's clock was set back.
local silent = now - last > lease / 2 or last > now + lease
for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, silent and '-inf' or whole(now + lease), '+inf')) do
  redis.call('ZADD', leases, whole(now + lease), id)
end
redis.call('SET', renewed, whole(now))
if joins == '0' and not redis.call('ZSCORE', leases, node) then
  return {redis.call('ZSCORE', buried, node) and 'dead' or 'unknown', now}
end
redis.call('ZADD', leases, whole(now + lease), node)
local known = string.match(redis.call('HGET', nodes, node) or '', '%d+$') or '0'
redis.call('HSET', nodes, node, draining .. ' ' .. connections .. ' ' .. renewals)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', whole(now))) do
  redis.call('ZREM', leases, id)
  redis.call('HDEL', nodes, id)
  redis.call('ZADD', lost, whole(now), id)
  redis.call('ZADD', buried, whole(now), id)
end
redis.call('ZREMRANGEBYSCORE', buried, '-inf', whole(now - tombstone_s * 1000))
hold(nodes, leases, lost, buried, renewed)
redis.call('PUBLISH', channel, 'p')
return {'ok', now, redis.call('HGETALL', nodes), redis.call('ZRANGE', lost, 0, -1), tonumber(known)}

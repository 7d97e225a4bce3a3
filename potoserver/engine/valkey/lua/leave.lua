-- Takes a node from the registry.
-- KEYS: nodes leases lost
-- ARGV: node
redis.call('HDEL', nodes, node)
redis.call('ZREM', leases, node)
redis.call('ZREM', lost, node)
return 1

-- Users of whom a node that is dead, or leaves, has something in a partition. From now on it is refused there.
-- KEYS: index dead
-- ARGV: most tombstone_s
redis.call('SET', dead, '1', 'EX', tombstone_s)
return redis.call('SRANDMEMBER', index, most)

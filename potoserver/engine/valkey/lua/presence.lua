-- A user's presence: generation (0 for none), connections, and when the grace ends (0 while it does not run).
-- KEYS: presence connections
-- ARGV:
local found = redis.call('HMGET', presence, 'generation', 'departs')
return {tonumber(found[1] or 0), redis.call('HLEN', connections), tonumber(found[2] or 0)}

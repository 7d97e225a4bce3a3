-- The presence of users of one partition: of each the generation (0 for none), connections, and when the grace
-- ends (0 while it does not run). The keys are those of each user, one user after the other.
-- KEYS: presence connections
-- ARGV:
local found = {}
for at = 1, #KEYS, 2 do
  local about = redis.call('HMGET', KEYS[at], 'generation', 'departs')
  found[#found + 1] = {tonumber(about[1] or 0), redis.call('HLEN', KEYS[at + 1]), tonumber(about[2] or 0)}
end
return found

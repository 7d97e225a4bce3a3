-- A value, unless it has lapsed. A value stands as `<lapses ms> <set at us> <value>`.
-- KEYS: state
-- ARGV: name
local lapses, value = string.match(redis.call('HGET', state, name) or '', '^(%d+) %d+ (.*)$')
if not lapses or tonumber(lapses) <= now_ms() then return false end
return value

-- Gives up a node's home of a user, if it is still that one.
-- KEYS: home orphans index connections claims
-- ARGV: user node token orphan held_s
local found = redis.call('HMGET', home, 'node', 'token')
if found[1] ~= node or found[2] ~= token then return 0 end
redis.call('DEL', home)
if orphan == '1' then
  redis.call('ZADD', orphans, 0, user)
  hold(orphans)
end
tidy_index()
return 1

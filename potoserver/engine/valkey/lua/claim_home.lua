-- The user's home; the node becomes it where there is none, or where its own token is less than one seen already.
-- KEYS: home orphans clock index dead
-- ARGV: user node above held_s
if redis.call('EXISTS', dead) == 1 then return {'dead'} end
local found = redis.call('HMGET', home, 'node', 'token')
if found[1] and (found[1] ~= node or tonumber(found[2]) >= tonumber(above)) then
  hold(home)
  return {'ok', found[1], tonumber(found[2])}
end
local token = next_number(tonumber(above))
redis.call('HSET', home, 'node', node, 'token', whole(token))
redis.call('ZREM', orphans, user)
redis.call('SADD', index, user)
hold(home, index)
return {'ok', node, token}

-- Takes from a node all that it has of a user: connections, home, departures that it has claimed.
-- KEYS: presence connections online leaving home orphans claims waiting index
-- ARGV: user node cause grace_ms orphan held_s
local holders, ended = redis.call('HGETALL', connections), false
for at = 1, #holders, 2 do
  if holders[at + 1] == node then
    redis.call('HDEL', connections, holders[at])
    ended = true
  end
end
if ended and redis.call('HLEN', connections) == 0 then begin_grace() end
if redis.call('HGET', home, 'node') == node then
  redis.call('DEL', home)
  if orphan == '1' then
    redis.call('ZADD', orphans, 0, user)
    hold(orphans)
  end
end
if redis.call('HGET', claims, user) == node then
  redis.call('HDEL', claims, user)
  redis.call('SADD', waiting, user)
  hold(waiting)
end
redis.call('SREM', index, user)
return 1

-- What waits in a partition: users with a departure to claim, orphans to take over; and how many are online.
-- KEYS: leaving waiting claims orphans online
-- ARGV: node most ask_again_ms
local now = now_ms()
local due = redis.call('ZRANGEBYSCORE', leaving, '-inf', whole(now), 'LIMIT', 0, most)
for _, user in ipairs(redis.call('SRANDMEMBER', waiting, most)) do
  local claimer = redis.call('HGET', claims, user)
  if not claimer or claimer == node then due[#due + 1] = user end
end
local asked = redis.call('ZRANGEBYSCORE', orphans, '-inf', whole(now), 'LIMIT', 0, most)
for _, user in ipairs(asked) do
  redis.call('ZADD', orphans, whole(now + tonumber(ask_again_ms)), user)
end
return {due, asked, redis.call('SCARD', online)}

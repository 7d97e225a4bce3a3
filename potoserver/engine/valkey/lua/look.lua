-- What waits in a partition: users with a departure to claim, orphans to take over; and how many are online.
-- Of a node that takes nothing new (`works` is 0) only what it has claimed already.
-- KEYS: leaving waiting claims orphans online
-- ARGV: node works most ask_again_ms
local now, due = now_ms(), {}
if works == '1' then due = redis.call('ZRANGEBYSCORE', leaving, '-inf', whole(now), 'LIMIT', 0, most) end
for _, user in ipairs(redis.call('SRANDMEMBER', waiting, most)) do
  local claimer = redis.call('HGET', claims, user)
  if claimer == node or (not claimer and works == '1') then due[#due + 1] = user end
end
if works == '0' then return {due, {}, redis.call('SCARD', online)} end
local asked = redis.call('ZRANGEBYSCORE', orphans, '-inf', whole(now), 'LIMIT', 0, most)
for _, user in ipairs(asked) do
  redis.call('ZADD', orphans, whole(now + tonumber(ask_again_ms)), user)
end
return {due, asked, redis.call('SCARD', online)}

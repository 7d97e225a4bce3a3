-- Sets or removes a value if it still is the one expected; an argument begins with `=`, or is empty for none.
-- KEYS: state clock
-- ARGV: name expected value lifetime_ms most held_s
local now = now_ms()
local lapses, current = string.match(redis.call('HGET', state, name) or '', '^(%d+) %d+ (.*)$')
if not lapses or tonumber(lapses) <= now then current = nil end
if (current and '=' .. current or '') ~= expected then return 0 end
if value == '' then
  redis.call('HDEL', state, name)
  return 1
end
local ends = now + tonumber(lifetime_ms)
redis.call('HSET', state, name, whole(ends) .. ' ' .. whole(next_number(0)) .. ' ' .. string.sub(value, 2))
if redis.call('HLEN', state) > tonumber(most) then
  local all, oldest, oldest_at = redis.call('HGETALL', state), nil, nil
  for at = 1, #all, 2 do
    local of_it, set_at = string.match(all[at + 1], '^(%d+) (%d+)')
    -- What has lapsed goes before everything else.
    local rank = tonumber(of_it) <= now and 0 or tonumber(set_at)
    if not oldest or rank < oldest_at then oldest, oldest_at = all[at], rank end
  end
  redis.call('HDEL', state, oldest)
end
local left = redis.call('PTTL', state)
if left < tonumber(lifetime_ms) then redis.call('PEXPIRE', state, lifetime_ms) end
return 1

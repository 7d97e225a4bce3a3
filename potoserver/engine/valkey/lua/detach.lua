-- Removes a connection of a node; when it was the user's last, the grace begins. Returns how many are left.
-- KEYS: presence connections online leaving home claims index
-- ARGV: user node connection cause grace_ms held_s
local removed = redis.call('HGET', connections, connection) == node
if removed then redis.call('HDEL', connections, connection) end
local left = redis.call('HLEN', connections)
if removed then
  if left == 0 then begin_grace() end
  tidy_index()
end
return left

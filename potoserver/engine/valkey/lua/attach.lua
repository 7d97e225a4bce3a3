-- Adds a connection; the first of an absent user begins a generation, one in the grace ends that. Not where the user
-- has `most` already (0: however many).
-- KEYS: presence connections online leaving index dead clock logmeta log
-- ARGV: user node connection until_ms most held_s
if redis.call('EXISTS', dead) == 1 then return {'dead'} end
if now_ms() > tonumber(until_ms) then return {'late'} end
if tonumber(most) > 0 and redis.call('HLEN', connections) >= tonumber(most) then return {'full'} end
local generation, arrived = redis.call('HGET', presence, 'generation'), 0
if not generation then
  generation, arrived = whole(next_number(0)), 1
  redis.call('HSET', presence, 'generation', generation)
end
redis.call('HDEL', presence, 'cause', 'since', 'departs')
redis.call('HSET', connections, connection, node)
redis.call('SADD', online, user)
redis.call('ZREM', leaving, user)
redis.call('SADD', index, user)
local opened = open_log()
hold(presence, connections, online, index, logmeta, log)
return {'ok', tonumber(generation), arrived, opened.epoch, opened.newest}

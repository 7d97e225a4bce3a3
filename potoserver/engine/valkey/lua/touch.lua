-- Puts off the end of a user's keys for the node that has the user. Returns the token of its home, 0 for none, and
-- which of its connections are there.
-- KEYS: presence connections logmeta log home departures online leaving claims waiting orphans clock index
-- ARGV: node held_s
hold(unpack(KEYS))
local found = redis.call('HMGET', home, 'node', 'token')
local mine, holders = {}, redis.call('HGETALL', connections)
for at = 1, #holders, 2 do
  if holders[at + 1] == node then mine[#mine + 1] = holders[at] end
end
return {found[1] == node and tonumber(found[2]) or 0, mine}

-- Puts off the end of a user's keys for the node that has the user; returns which of its connections are there.
-- KEYS: presence connections logmeta log home departures online leaving claims waiting orphans clock index
-- ARGV: node held_s
hold(unpack(KEYS))
local mine, holders = {}, redis.call('HGETALL', connections)
for at = 1, #holders, 2 do
  if holders[at + 1] == node then mine[#mine + 1] = holders[at] end
end
return mine

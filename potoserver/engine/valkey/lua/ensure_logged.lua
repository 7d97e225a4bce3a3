-- Begins the log anew unless an event of the type has this text in its data. Returns whether one has.
-- KEYS: connections logmeta log
-- ARGV: user type text channels
for _, entry in ipairs(redis.call('XREVRANGE', log, '+', '-')) do
  if type_of(entry) == type and string.find(data_of(entry), text, 1, true) then return 1 end
end
if redis.call('DEL', logmeta, log) > 0 then tell_nodes('a\n' .. user) end  -- who is connected is told of the gap at once
return 0

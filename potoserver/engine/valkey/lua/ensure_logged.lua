-- Begins the log anew unless an event of the type has this text in its data. Returns whether one has.
-- KEYS: logmeta log
-- ARGV: type text
for _, entry in ipairs(redis.call('XREVRANGE', log, '+', '-')) do
  if type_of(entry) == type and string.find(data_of(entry), text, 1, true) then return 1 end
end
redis.call('DEL', logmeta, log)
return 0

-- Begins the log anew if an event that was in it is no longer, though nothing has dropped it: the engine has lost
-- its last writes. Or in any case, where that is certain.
-- KEYS: logmeta log
-- ARGV: epoch seq certain
local meta = redis.call('HMGET', logmeta, 'epoch', 'floor')
if meta[1] ~= epoch then return 0 end
if certain == '0' then
  if tonumber(meta[2]) >= tonumber(seq) then return 0 end
  if #redis.call('XRANGE', log, seq .. '-0', seq .. '-0') == 1 then return 0 end
end
redis.call('DEL', logmeta, log)
return 1

-- What came after an id of the log: whether it can't be continued from, the log's epoch and newest, the entries.
-- KEYS: presence logmeta log clock
-- ARGV: epoch seq most_events most_bytes kept_ms held_s
local existed = redis.call('EXISTS', logmeta) == 1
local opened = open_log()
if trim_log(opened) > 0 then save_log(opened) end
if not existed then keep_log() end
if epoch == '' then return {0, opened.epoch, opened.newest, {}} end
local after = tonumber(seq)
if epoch ~= opened.epoch or after < opened.floor or after > opened.newest then
  return {1, opened.epoch, opened.newest, {}}
end
local missed = {}
if after < opened.newest then
  for _, entry in ipairs(redis.call('XRANGE', log, whole(after + 1) .. '-0', '+')) do
    missed[#missed + 1] = {seq_of(entry), type_of(entry), data_of(entry)}
  end
end
return {0, opened.epoch, opened.newest, missed}

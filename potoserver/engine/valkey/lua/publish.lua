-- Appends an event to the user's log and tells each node that holds a connection of the user. Not after `until_ms`: the
-- caller has given it up by then, and somebody may have told the same since.
-- A number is not less than the time in milliseconds, so none is given twice when the log has lost its end.
-- KEYS: presence connections logmeta log clock
-- ARGV: user type data group replaces until_ms most_events most_bytes kept_ms held_s channels
if now_ms() > tonumber(until_ms) then return {} end
local opened = open_log()
if replaces ~= '' then
  for _, entry in ipairs(redis.call('XRANGE', log, '-', '+')) do
    if group_of(entry) == replaces then
      redis.call('XDEL', log, entry[1])
      opened.bytes = opened.bytes - size_of(entry)
    end
  end
end
local before = opened.newest
local seq = math.max(before + 1, now_ms())
local id = opened.epoch .. '-' .. whole(seq)
local size = #'id: \nevent: \ndata: \n\n' + #id + #type + #data
redis.call('XADD', log, whole(seq) .. '-0', 't', type, 'd', data, 's', size, 'g', group)
opened.newest, opened.bytes = seq, opened.bytes + size
local dropped = trim_log(opened)
save_log(opened)
keep_log()
local message = table.concat({'e', opened.epoch, whole(before), whole(seq), #user, #type}, ' ')
  .. '\n' .. user .. type .. data
tell_nodes(message)
return {opened.epoch, seq, dropped}

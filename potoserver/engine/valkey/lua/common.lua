-- What several scripts need. The names of keys and arguments are those that the script's head declares.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

-- A number greater than all before it in this partition, and than `above`; also after data was lost, since it
-- is not less than the time in microseconds.
local function next_number(above)
  local time = redis.call('TIME')
  local last = tonumber(redis.call('GET', clock) or '0')
  local number = math.max(time[1] * 1000000 + time[2], last + 1, above + 1)
  redis.call('SET', clock, whole(number), 'EX', held_s)
  return number
end

local function hold(...)
  for _, key in ipairs({...}) do
    redis.call('EXPIRE', key, held_s)
  end
end

-- The user's last connection is gone.
local function begin_grace()
  local since = now_ms()
  local departs = since + tonumber(grace_ms)
  redis.call('HSET', presence, 'cause', cause, 'since', whole(since), 'departs', whole(departs))
  redis.call('SREM', online, user)
  redis.call('ZADD', leaving, whole(departs), user)
  hold(presence, leaving)
end

-- Takes the user from the node's index when the node has nothing more of the user.
local function tidy_index()
  for _, holder in ipairs(redis.call('HVALS', connections)) do
    if holder == node then return end
  end
  if redis.call('HGET', home, 'node') == node then return end
  if redis.call('HGET', claims, user) == node then return end
  redis.call('SREM', index, user)
end

-- The log: {epoch, newest, floor, bytes}; a new one where there is none, or its events were evicted.
local function open_log()
  local meta = redis.call('HMGET', logmeta, 'epoch', 'newest', 'floor', 'bytes')
  if meta[1] and (meta[4] == '0' or redis.call('EXISTS', log) == 1) then
    return {epoch = meta[1], newest = tonumber(meta[2]), floor = tonumber(meta[3]), bytes = tonumber(meta[4])}
  end
  redis.call('DEL', log)
  local opened = {epoch = whole(next_number(0)), newest = 0, floor = 0, bytes = 0}
  redis.call('HSET', logmeta, 'epoch', opened.epoch, 'newest', '0', 'floor', '0', 'bytes', '0')
  return opened
end

local function save_log(opened)
  redis.call('HSET', logmeta, 'newest', whole(opened.newest), 'floor', whole(opened.floor), 'bytes', opened.bytes)
end

-- A user who is here keeps the log; of one who is not it lapses with the events.
local function keep_log()
  if redis.call('EXISTS', presence) == 1 then
    hold(logmeta, log)
  else
    redis.call('PEXPIRE', logmeta, kept_ms)
    redis.call('PEXPIRE', log, kept_ms)
  end
end

-- Tells each node that holds a connection of the user.
local function tell_nodes(message)
  local told = {}
  for _, node in ipairs(redis.call('HVALS', connections)) do
    if not told[node] then
      told[node] = true
      redis.call('PUBLISH', channels .. node, message)
    end
  end
end

local function seq_of(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end

-- Fields stand in one order: type, data, size, group.
local function type_of(entry) return entry[2][2] end
local function data_of(entry) return entry[2][4] end
local function size_of(entry) return tonumber(entry[2][6]) end
local function group_of(entry) return entry[2][8] end

-- Drops from the old end what exceeds a bound; what is dropped can't be continued from.
local function trim_log(opened)
  local oldest = now_ms() - tonumber(kept_ms)
  local count, dropped = redis.call('XLEN', log), 0
  while count > 0 do
    local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    local seq = seq_of(first)
    if count <= tonumber(most_events) and opened.bytes <= tonumber(most_bytes) and seq >= oldest then break end
    redis.call('XDEL', log, first[1])
    opened.bytes = opened.bytes - size_of(first)
    opened.floor = seq
    count, dropped = count - 1, dropped + 1
  end
  return dropped
end

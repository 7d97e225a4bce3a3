-- Sends to a channel. The key is never set: it says which server of a cluster is to do it, always the same one.
-- KEYS: route
-- ARGV: channel payload
return redis.call('PUBLISH', channel, payload)

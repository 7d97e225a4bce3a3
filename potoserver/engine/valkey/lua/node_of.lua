-- The node that holds a connection of the user's; nothing where there is no such connection.
-- KEYS: connections
-- ARGV: connection
return redis.call('HGET', connections, connection)

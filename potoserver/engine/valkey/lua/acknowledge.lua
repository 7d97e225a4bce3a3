-- Forgets a departure; with the user's last one the claim.
-- KEYS: departures claims waiting index connections home
-- ARGV: user node departure
redis.call('LREM', departures, 0, departure)
if redis.call('LLEN', departures) == 0 then
  redis.call('HDEL', claims, user)
  redis.call('SREM', waiting, user)
  tidy_index()
end
return 1

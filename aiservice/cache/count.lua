-- Adds to the look-ups of all workers. KEYS[1] is their sum; ARGV are hits, misses, and how long it lives, milliseconds.

redis.call('HINCRBY', KEYS[1], 'hits', ARGV[1])
redis.call('HINCRBY', KEYS[1], 'misses', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 0

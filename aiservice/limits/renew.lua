-- Keeps a request's slots for another lease, unless its take is closed.
--
-- KEYS: slots, the mark of closed takes. ARGV: the time, 0 buckets, the lease in microseconds, the request's id.

if call('EXISTS', KEYS[#KEYS]) == 1 then
    return 0
end
for n = 1, #KEYS - 1 do
    lease(KEYS[n], ARGV[extra + 2], tonumber(ARGV[extra + 1]))
end
return 1

-- Ends the lease; someone else's is then no longer waited for, unless someone else who waits asks soon.

local id, _, wanted_us = lease()
if id == ARGV[1] then
    call('DEL', KEYS[2])
elseif wanted_us then
    local last_call_us = time_us() - WANTED_US + LAST_CALL_US
    change('wanted', whole(math.min(wanted_us, last_call_us)))
end
return 0

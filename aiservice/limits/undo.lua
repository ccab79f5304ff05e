-- Stands before close.lua, with the same KEYS and ARGV: goes no further unless it is known that the take was taken. It
-- is while one of its slots is held, or while no later take came to one of its buckets.

local function was_taken(request_id)
    for n = 1, count do
        if call('HGET', KEYS[n], 'last') == request_id then
            return true
        end
    end
    for n = count + 1, #KEYS - 1 do
        if call('ZSCORE', KEYS[n], request_id) then
            return true
        end
    end
    return false
end

if not was_taken(ARGV[extra + 2]) then
    return 0
end

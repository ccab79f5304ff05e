-- Takes every cost and every slot, or nothing.
--
-- KEYS: buckets, slots. ARGV behind the buckets: the lease in microseconds, the request's id, the limit of each of the
-- slots. Answers the time, which of the slots are all held (0: none of them), and level and stamp of each bucket from
-- before: what was decided follows from these.

local lease_us, request_id = tonumber(ARGV[extra + 1]), ARGV[extra + 2]
local answer, pulled_back, fits, last_seen = { now_us, 0 }, {}, true, #KEYS

-- Takes away the leases that have run out. One that ends later than a lease lasts was stamped before the clock went
-- back, and ends as if it were new.
local function tend(slots)
    local latest = whole(now_us + lease_us)
    call('ZREMRANGEBYSCORE', slots, '-inf', whole(now_us))
    for _, id in ipairs(call('ZRANGEBYSCORE', slots, '(' .. latest, '+inf')) do
        call('ZADD', slots, latest, id)
    end
end

for n = 1, count do
    local level, stamp_us, stored_us = state(n)
    answer[2 * n + 1], answer[2 * n + 2] = level, stamp_us
    fits = fits and amount(n) <= level
    -- A stamp further ahead of the clock than it may stay is corrected also where nothing is taken.
    pulled_back[n] = stored_us and stamp_us < stored_us
end
for n = count + 1, #KEYS do
    if call('ZCOUNT', KEYS[n], '(' .. whole(now_us), '+inf') >= tonumber(ARGV[extra + 2 + n - count]) then
        answer[2], last_seen = n - count, n
        break
    end
end

-- What needs memory comes first: that is where a full Redis refuses, and then the whole script.
local is_taken = fits and answer[2] == 0
for n = 1, count do
    local level, stamp_us = answer[2 * n + 1], answer[2 * n + 2]
    if is_taken then
        keep(n, level - amount(n), stamp_us, 'last', request_id)
    elseif pulled_back[n] then
        keep(n, level, stamp_us)
    end
end
for n = count + 1, last_seen do
    if is_taken then
        lease(KEYS[n], request_id, lease_us)
    end
    tend(KEYS[n])
end
return answer

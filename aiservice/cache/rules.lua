-- Stands before each script of this room, after the constants of lease.py.
--
-- KEYS[1] is the entry, KEYS[2] its lease, and the others, where there are any, the eras that both belong to. ARGV[1] is
-- the lease's id ('' is none), ARGV[2] the time that leases go by, in microseconds ('' is this server's own), ARGV[3]
-- what eras begin with that are missing, ARGV[4] how long an era must last at least, and ARGV[5] how long one is given
-- that would not, both in milliseconds.

local ERA_BYTES = 8
local call = redis.call

local function whole(number)
    return string.format('%.0f', number)
end

local function time_us()
    if ARGV[2] ~= '' then
        return tonumber(ARGV[2])
    end
    local time = call('TIME')
    return time[1] * 1000000 + time[2]
end

-- The eras as they stand, joined. A missing one begins anew, so that nothing from before it is ever in force again.
local function eras()
    local standing = {}
    for n = 3, #KEYS do
        local era = call('GET', KEYS[n])
        if not era or #era ~= ERA_BYTES then
            local at = (n - 3) * ERA_BYTES
            era = string.sub(ARGV[3], at + 1, at + ERA_BYTES)
            call('SET', KEYS[n], era, 'PX', ARGV[5])
        elseif call('PTTL', KEYS[n]) < tonumber(ARGV[4]) then
            call('PEXPIRE', KEYS[n], ARGV[5])
        end
        standing[#standing + 1] = era
    end
    return table.concat(standing)
end

-- Id, end, mark that someone waits (nil where nobody ever did), and eras of the lease; nil where there is none.
local function lease()
    local stored = call('HMGET', KEYS[2], 'id', 'expires', 'wanted', 'eras')
    local expires_us = tonumber(stored[2])
    if stored[1] and expires_us then
        return stored[1], expires_us, tonumber(stored[3]), stored[4]
    end
    return nil
end

-- Changes the lease. A full Redis refuses the first write of a script if it takes room, and lets later ones pass: leases
-- are small, and with them flights are shared also then.
local function change(...)
    call('PEXPIRE', KEYS[2], KEPT_MS)
    call('HSET', KEYS[2], ...)
end

-- For another LEASE_US. A mark from a clock that went back counts from now.
local function renewed(wanted_us, now_us)
    change('expires', whole(now_us + LEASE_US))
    if wanted_us and wanted_us > now_us then
        change('wanted', whole(now_us))
    end
end


-- Stands before each script of this room: the time, and a bucket's state by the arithmetic of bucket.py, to the unit.
--
-- KEYS are the buckets first, then what the script adds. ARGV[1] is the time in microseconds ('' is this server's own),
-- ARGV[2] how many buckets there are; then come seven arguments for each: unit_us, token_units, cap_units, floor_units,
-- fill_us, rate, and an amount of tokens. Doubles give the whole numbers of Python here:
-- * What is stored or answered is below 2^53 (SPAN_MAX of model.py) and is written out, never as 1e+15.
-- * floor(a / b) is a // b where |a| + b < 2^53, as for every level and time here: a quotient that is not whole is at
--   least 1 / b away from the next whole number, and rounding moves it by less.
-- * A product may be larger. It is then only compared, and stands on the same side of every level as the true one.

local SPAN = 7
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
local call = redis.call

local function whole(number)
    return string.format('%.0f', number)
end

local function time_us()
    if ARGV[1] ~= '' then
        return tonumber(ARGV[1])
    end
    local time = call('TIME')
    return time[1] * 1000000 + time[2]
end

local now_us = time_us()
local count = tonumber(ARGV[2])
local extra = 2 + count * SPAN

-- The arguments of bucket n as numbers, all but its amount of tokens.
local function facts(n)
    local at = 2 + (n - 1) * SPAN
    local unit_us, token_units, cap = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    return unit_us, token_units, cap, tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
end

-- So many units of bucket n as its amount of tokens is.
local function amount(n)
    local at = 2 + (n - 1) * SPAN
    return tonumber(ARGV[at + 7]) * tonumber(ARGV[at + 2])
end

-- Level and stamp of bucket n now, and the stamp as it is stored, nil where nothing is.
local function state(n)
    local unit_us, token_units, cap, lowest, fill_us, rate = facts(n)
    local stored = call('HMGET', KEYS[n], 'level', 'stamp', 'units')
    local level, stamp_us, units_then = tonumber(stored[1]), tonumber(stored[2]), tonumber(stored[3])
    if not (level and stamp_us and units_then) then
        return cap, now_us, nil
    end
    if units_then ~= token_units then
        level = floor(level / units_then) * token_units
    end
    level = max(level, lowest)
    if stamp_us >= now_us then
        return min(level, cap), min(stamp_us, now_us + fill_us), stamp_us
    end
    local units = floor((now_us - stamp_us) / unit_us)
    if units * rate >= cap - level then
        return cap, now_us, stamp_us
    end
    return level + units * rate, stamp_us + units * unit_us, stamp_us
end

-- Stores bucket n until a minute after it will be full, and with it what else is given (field, value).
local function keep(n, level, stamp_us, ...)
    local unit_us, token_units, cap, _, _, rate = facts(n)
    local full_us = stamp_us + ceil((cap - level) / rate) * unit_us
    call('HSET', KEYS[n], 'level', whole(level), 'stamp', whole(stamp_us), 'units', whole(token_units), ...)
    call('PEXPIRE', KEYS[n], whole(floor(max(0, full_us - now_us) / 1000) + 60000))
end

-- Gives the request a slot of these, or keeps it for another lease.
local function lease(slots, request_id, lease_us)
    call('ZADD', slots, whole(now_us + lease_us), request_id)
    call('PEXPIRE', slots, whole(floor(lease_us / 1000) + 60000))
end

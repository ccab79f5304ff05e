-- The entry if it is there, else the lease if it is free, else the news that another leads; see `claimed` of lease.py.
--
-- ARGV[6] is the time that entries go by, ARGV[7] the greatest age that will do ('' is any), both in microseconds.
-- Answers 'entry', 'leads' or 'waits', the eras, and the entry.

local function is_good(head, standing)
    if #head < HEAD_BYTES or string.sub(head, 2, 1 + #standing) ~= standing then
        return false
    end
    local created_us, expires_us = struct.unpack('>I8I8', head, 2 + #standing)
    local now_us = tonumber(ARGV[6])
    return expires_us > now_us and (ARGV[7] == '' or now_us - created_us <= tonumber(ARGV[7]))
end

local standing = eras()
if is_good(call('GETRANGE', KEYS[1], 0, HEAD_BYTES - 1), standing) then
    return {'entry', standing, call('GET', KEYS[1])}
end

local now_us = time_us()
local id, expires_us, wanted_us, begun = lease()
if not id or begun ~= standing or expires_us <= now_us then
    call('DEL', KEYS[2])
    change('id', ARGV[1], 'expires', whole(now_us + LEASE_US), 'eras', standing)
    call('PEXPIRE', KEYS[2], KEPT_MS)
    return {'leads', standing}
end
if id == ARGV[1] then
    renewed(wanted_us, now_us)
    return {'leads', standing}
end
local is_of_other_time = expires_us > now_us + LEASE_US
local is_marked = wanted_us and wanted_us <= now_us and now_us - wanted_us <= MARK_AFTER_US
if is_of_other_time or not is_marked then
    change('wanted', whole(now_us), 'expires', whole(math.min(expires_us, now_us + LEASE_US)))
end
return {'waits', standing}

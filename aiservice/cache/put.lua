-- Keeps an answer; with a lease only if that one stands, from the same eras as now. Ends the lease.
--
-- ARGV[6] are the eras that the entry was sealed with, ARGV[7] is the entry, ARGV[8] how long it lives, milliseconds.
-- Answers 'kept' or 'refused', or 'eras' and those that it must be sealed with; nothing is done then.

local standing = eras()
if ARGV[1] ~= '' then
    local id, _, _, begun = lease()
    if id ~= ARGV[1] or begun ~= standing then
        return {'refused', standing}
    end
end
if ARGV[6] ~= standing then
    return {'eras', standing}
end
-- The entry first: a full Redis refuses the first write of a script that takes room, and lets later ones pass.
call('SET', KEYS[1], ARGV[7], 'PX', ARGV[8])
if ARGV[1] ~= '' then
    call('DEL', KEYS[2])
end
return {'kept', standing}

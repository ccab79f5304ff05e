-- Keeps the lease for another while, if it stands; answers 1 where someone waited for it lately.

local id, _, wanted_us, begun = lease()
if id ~= ARGV[1] or begun ~= eras() then
    return 0
end
local now_us = time_us()
renewed(wanted_us, now_us)
return wanted_us and now_us - wanted_us <= WANTED_US and 1 or 0

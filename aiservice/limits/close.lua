-- Closes a take: gives back each bucket's amount of tokens (below zero: takes it), once, and frees the slots.
--
-- KEYS: buckets, slots, the mark of closed takes. ARGV behind the buckets: for how many milliseconds it is remembered
-- that the take was closed, the request's id. Answers 1, or 0 where it was closed before.

for n = count + 1, #KEYS - 1 do
    call('ZREM', KEYS[n], ARGV[extra + 2])
end
if not call('SET', KEYS[#KEYS], '1', 'NX', 'PX', ARGV[extra + 1]) then
    return 0
end
for n = 1, count do
    local _, _, cap, lowest = facts(n)
    local level, stamp_us = state(n)
    local change = amount(n)
    if change >= cap - level then
        level = cap
    elseif change <= lowest - level then
        level = lowest
    else
        level = level + change
    end
    keep(n, level, stamp_us)
end
return 1

-- Answers how many requests hold each of these slots. KEYS: slots. ARGV: the time, 0 buckets.

local answer = {}
for n = 1, #KEYS do
    answer[n] = call('ZCOUNT', KEYS[n], '(' .. whole(now_us), '+inf')
end
return answer

-- Answers the time and the level and stamp of each bucket. KEYS: buckets.

local answer = { now_us }
for n = 1, count do
    answer[2 * n], answer[2 * n + 1] = state(n)
end
return answer

-- Lua hands on only so many words at once. An even number of them: they may come in pairs.
local function many(command, key, words)
  for from = 1, #words, 1000 do
    redis.call(command, key, unpack(words, from, math.min(from + 999, #words)))
  end
end

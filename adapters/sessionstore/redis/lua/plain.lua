-- A score may come as a power of ten, and one that the store did not write as a fraction.

local function plain(score) return string.format('%.0f', math.floor(tonumber(score))) end

-- Whether text in the head can be read as what the store writes.

-- Whether text is UTF-8. A character is replaced by one that can't complete another.
local function is_utf8(text)
  if not string.find(text, '[\128-\255]') then return true end
  for _, character in ipairs({'[\194-\223]@', '\224[\160-\191]@', '[\225-\236\238\239]@@',
    '\237[\128-\159]@', '\240[\144-\191]@@', '[\241-\243]@@@', '\244[\128-\143]@@'}) do
    text = string.gsub(text, (string.gsub(character, '@', '[\128-\191]')), ' ')
  end
  return not string.find(text, '[\128-\255]')
end

-- Whether this is one value as the store writes it. Lua's parser takes more than JSON: such as
-- words for numbers that are none, and any bytes in a text.
local function is_json(text)
  local fine, value = pcall(cjson.decode, '[' .. text .. ']')
  if not fine or #value ~= 1 or string.find(text, '[%z\1-\31]') or not is_utf8(text) then
    return false
  end
  local bare = string.gsub(string.gsub(text, '\\[^u]', ''), '\\u00[01]%x', '')
  if string.find(bare, '\\') then return false end
  for word in string.gmatch(string.gsub(bare, '"[^"]*"', ' '), '[^%[%]{}:, ]+') do
    local number = string.match(word, '^-?%d+$') or string.match(word, '^-?%d+%.%d+$')
      or string.match(word, '^-?%d+[eE][+-]?%d+$') or string.match(word, '^-?%d+%.%d+[eE][+-]?%d+$')
    if number then
      local inexact = math.abs(tonumber(number)) == math.huge
      if inexact or string.find(word, '^-?0%d') then return false end
    elseif word ~= 'true' and word ~= 'false' and word ~= 'null' then
      return false
    end
  end
  return true
end

-- Entry ids are two 64-bit numbers; Lua's own numbers would round them, so they are compared as decimal text.
local function less(a, b)
  if #a ~= #b then
    return #a < #b
  end
  return a < b
end

local function before(a, b)
  local a_ms, a_sequence = string.match(a, '^(%d+)%-(%d+)$')
  local b_ms, b_sequence = string.match(b, '^(%d+)%-(%d+)$')
  if not a_ms then
    a_ms, a_sequence = a, '0'
  end
  if not b_ms then
    b_ms, b_sequence = b, '0'
  end
  if a_ms ~= b_ms then
    return less(a_ms, b_ms)
  end
  return less(a_sequence, b_sequence)
end

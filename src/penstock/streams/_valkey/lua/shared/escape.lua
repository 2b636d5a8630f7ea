-- A name as it stands between the colons of a key; the twin of `escape` in streams/keys.py.
local function escape(name)
  return (string.gsub(name, '[%%:{}]', function(sign)
    return string.format('%%%02X', string.byte(sign))
  end))
end

-- Toonify a JPEG by plain HTTP: POST /toonify, or /toonify/NAME for the ensemble toonify_NAME, with the file as the body;
-- the answer's body is a JPEG.
-- The call of gRPC and its answer are written and read here as protocol buffers (KServe's ModelInferRequest).

local function varint(number)
  local bytes = {}
  while number >= 128 do
    bytes[#bytes + 1] = string.char(number % 128 + 128)
    number = math.floor(number / 128)
  end
  bytes[#bytes + 1] = string.char(number)
  return table.concat(bytes)
end

-- A field whose value has a length: a text, bytes or a message.
local function field(number, value)
  return varint(number * 8 + 2) .. varint(#value) .. value
end

local function big_endian(number)
  local b = function(shift) return math.floor(number / 2 ^ shift) % 256 end
  return string.char(b(24), b(16), b(8), b(0))
end

local function little_endian(number)
  return string.reverse(big_endian(number))
end

-- inputs { name: "jpeg" datatype: "BYTES" shape: [1, 1] }; the element of a BYTES tensor begins with its length.
local function request(model, jpeg)
  local tensor = field(1, "jpeg") .. field(2, "BYTES") .. field(3, "\1\1")
  local output = field(1, "image_jpeg")
  local message = field(1, model) .. field(5, tensor) .. field(6, output) .. field(7, little_endian(#jpeg) .. jpeg)
  return "\0" .. big_endian(#message) .. message
end

-- Position after the varint at a position, and its value.
local function read_varint(text, place)
  local value, factor = 0, 1
  while true do
    local byte = string.byte(text, place)
    place = place + 1
    value = value + byte % 128 * factor
    if byte < 128 then return place, value end
    factor = factor * 128
  end
end

-- The first value of raw_output_contents, field 6 of ModelInferResponse, without its length.
local function picture(message)
  local place = 6
  while place <= #message do
    local tag, length
    place, tag = read_varint(message, place)
    place, length = read_varint(message, place)
    if tag == 6 * 8 + 2 then return string.sub(message, place + 4, place + length - 1) end
    if tag % 8 == 2 then place = place + length end
  end
  return nil
end

local function refuse(handle, status, sentence)
  handle:respond({ [":status"] = status, ["content-type"] = "text/plain" }, sentence .. "\n")
end

local function answer(handle, kind, content)
  local headers, body = handle:headers(), handle:body(true)
  headers:replace("content-type", kind)
  if body then headers:replace("content-length", tostring(body:setBytes(content))) end -- none can be added to trailers
end

local function character(hexadecimal)
  return string.char(tonumber(hexadecimal, 16))
end

local HTTP_STATUS = { ["3"] = "400", ["4"] = "504", ["5"] = "404", ["7"] = "403", ["14"] = "503", ["16"] = "401" }

function envoy_on_request(handle)
  local headers = handle:headers()
  local path = string.match(headers:get(":path") or "", "^[^?]*")
  local name = string.match(path, "^/toonify/([%w_.-]+)$")
  if path ~= "/toonify" and not name then return end
  local model = (name and "toonify_" .. name or "toonify") .. "_jpeg"
  -- A browser names the page that asks. Any page could send pictures through its visitors otherwise.
  if headers:get("origin") or headers:get("sec-fetch-site") then
    return refuse(handle, "403", "toonify: got a request of a web page, expected one of a program.")
  end
  if headers:get(":method") ~= "POST" then
    return refuse(handle, "405", "toonify: got a request without a body, expected POST of a JPEG file.")
  end
  local body = handle:body()
  if not body or body:length() == 0 then
    return refuse(handle, "400", "toonify: got no body, expected a JPEG file; curl --data-binary @face.jpg sends one.")
  end
  local size = body:setBytes(request(model, body:getBytes(0, body:length())))
  headers = handle:headers() -- those of before were gone when the body had come
  headers:replace(":path", "/inference.GRPCInferenceService/ModelInfer")
  headers:replace("content-type", "application/grpc")
  headers:replace("content-length", tostring(size))
  headers:replace("te", "trailers")
  headers:replace("toonify-model", model)
  handle:streamInfo():dynamicMetadata():set("toonify", "picture", true)
  handle:clearRouteCache()
end

function envoy_on_response(handle)
  local ours = handle:streamInfo():dynamicMetadata():get("toonify")
  if not ours or not ours["picture"] then return end
  if handle:headers():get("content-type") ~= "application/grpc" then return end
  local body = handle:body(true)
  local jpeg = body and body:length() > 5 and picture(body:getBytes(0, body:length()))
  if jpeg then return answer(handle, "image/jpeg", jpeg) end
  local headers, trailers = handle:headers(), handle:trailers() -- an error without a body has the status in the headers
  local said = headers:get("grpc-status") and headers or trailers or headers
  headers:replace(":status", HTTP_STATUS[said:get("grpc-status")] or "502")
  local message = said:get("grpc-message") or "toonify: the server gave no picture."
  answer(handle, "text/plain", string.gsub(message, "%%(%x%x)", character) .. "\n")
end

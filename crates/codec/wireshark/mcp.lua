-- A Wireshark dissector for MCP/1, the Microservice Communication Protocol: README.md beside this file says
-- how to load it, docs/protocol.md what is on the wire. For Wireshark 3.6 and later (Lua 5.2 to 5.4).

-- Wireshark has an "mcp" of its own (Cisco's Miscabling Protocol), so the protocol's filter name is "mcp1".
-- The names of the fields do not meet: they are mcp.* as one expects.
local mcp = Proto("mcp1", "Microservice Communication Protocol")

local HEADER = 8
local VERSION = 1
local MAX_CHAIN = 16

local REQUEST, RESPONSE, ACK, PUSH, PING, PONG, CANCEL, GOAWAY, SETTINGS = 1, 2, 3, 4, 5, 6, 7, 8, 9
local EXTENSIONS = 0x80

local TYPES = {
    [REQUEST] = "REQUEST", [RESPONSE] = "RESPONSE", [ACK] = "ACK", [PUSH] = "PUSH", [PING] = "PING",
    [PONG] = "PONG", [CANCEL] = "CANCEL", [GOAWAY] = "GOAWAY", [SETTINGS] = "SETTINGS",
}
local CODECS = { [0] = "raw", [1] = "JSON", [2] = "Protobuf" }
local STATUS = { [0] = "ok", [1] = "fault" }
local REASONS = {
    [0] = "draining", [1] = "bad magic", [2] = "bad version", [3] = "frame too large", [4] = "malformed",
    [5] = "unknown type", [6] = "idle", [7] = "unauthenticated",
}
local SETTING_NAMES = {
    [1] = "largest payload", [2] = "calls outstanding", [3] = "idle time-out", [4] = "compressions",
    [5] = "features",
}
local ALGORITHMS = { [1] = "lz4 block", [2] = "zstd frame" }

-- Fields ---------------------------------------------------------------------------------------------------

local fields = {
    magic = ProtoField.uint16("mcp.magic", "Magic", base.HEX),
    version = ProtoField.uint8("mcp.version", "Version", base.DEC),
    type = ProtoField.uint8("mcp.type", "Type", base.DEC, TYPES),
    length = ProtoField.uint32("mcp.length", "Payload length", base.DEC),
    id = ProtoField.uint64("mcp.id", "Id", base.DEC),

    timeout_ms = ProtoField.uint32("mcp.timeout_ms", "Time left (ms)", base.DEC),
    codec = ProtoField.uint8("mcp.codec", "Codec", base.DEC, CODECS),
    flags = ProtoField.uint8("mcp.flags", "Flags", base.HEX),
    one_way = ProtoField.bool("mcp.flags.one_way", "One-way", 8, nil, 0x01),
    async = ProtoField.bool("mcp.flags.async", "Asynchronous", 8, nil, 0x02),
    idempotent = ProtoField.bool("mcp.flags.idempotent", "Idempotent", 8, nil, 0x04),
    compressed = ProtoField.bool("mcp.flags.compressed", "Compressed", 8, nil, 0x08),
    answer_flags = ProtoField.uint16("mcp.flags.answer", "Flags", base.HEX),
    answer_compressed = ProtoField.bool("mcp.flags.answer.compressed", "Compressed", 16, nil, 0x0001),
    method_len = ProtoField.uint16("mcp.method_len", "Method length", base.DEC),
    metadata_len = ProtoField.uint32("mcp.metadata_len", "Metadata length", base.DEC),
    method = ProtoField.string("mcp.method", "Method"),
    status = ProtoField.uint8("mcp.status", "Status", base.DEC, STATUS),

    metadata = ProtoField.none("mcp.metadata", "Metadata"),
    entry = ProtoField.string("mcp.metadata.entry", "Entry"),
    key = ProtoField.string("mcp.metadata.key", "Key"),
    value = ProtoField.string("mcp.metadata.value", "Value"),

    body = ProtoField.bytes("mcp.body", "Body"),
    algorithm = ProtoField.uint8("mcp.body.algorithm", "Algorithm", base.DEC, ALGORITHMS),
    plain_len = ProtoField.uint32("mcp.body.plain_length", "Decompressed length", base.DEC),
    extension = ProtoField.bytes("mcp.extension", "Extension"),

    fault = ProtoField.none("mcp.fault", "Fault"),
    fault_code = ProtoField.string("mcp.fault.code", "Code"),
    fault_message = ProtoField.string("mcp.fault.message", "Message"),
    fault_cause = ProtoField.string("mcp.fault.cause", "Cause"),
    fault_trace_id = ProtoField.string("mcp.fault.trace_id", "Trace id"),
    fault_retry = ProtoField.uint32("mcp.fault.retry_after_ms", "Retry after (ms)", base.DEC),
    fault_not_processed = ProtoField.bool("mcp.fault.not_processed", "Not processed"),
    fault_chain = ProtoField.string("mcp.fault.chain", "Chain"),

    reason = ProtoField.uint8("mcp.goaway.reason", "Reason", base.DEC, REASONS),
    last_id = ProtoField.uint64("mcp.goaway.last_id", "Last id", base.DEC),
    text = ProtoField.string("mcp.goaway.text", "Text"),

    setting = ProtoField.uint16("mcp.settings.key", "Setting", base.DEC, SETTING_NAMES),
    setting_value = ProtoField.uint32("mcp.settings.value", "Value", base.DEC),
    max_payload = ProtoField.uint32("mcp.settings.max_payload", "Largest payload (bytes)", base.DEC),
    max_outstanding = ProtoField.uint32("mcp.settings.max_outstanding", "Calls outstanding", base.DEC),
    idle_timeout = ProtoField.uint32("mcp.settings.idle_timeout_ms", "Idle time-out (ms)", base.DEC),
    compression = ProtoField.uint32("mcp.settings.compression", "Compressions", base.HEX),
    features = ProtoField.uint32("mcp.settings.features", "Features", base.HEX),

    ack_in = ProtoField.framenum("mcp.ack_in", "Acknowledged in", base.NONE, frametype.ACK),
    response_in = ProtoField.framenum("mcp.response_in", "Answered in", base.NONE, frametype.RESPONSE),
    cancel_in = ProtoField.framenum("mcp.cancel_in", "Cancelled in", base.NONE),
    response_to = ProtoField.framenum("mcp.response_to", "Of the call in", base.NONE, frametype.REQUEST),
    time = ProtoField.relative_time("mcp.time", "Time since the call"),
}
mcp.fields = fields

local SETTING_FIELDS = {
    fields.max_payload, fields.max_outstanding, fields.idle_timeout, fields.compression, fields.features,
}

local experts = {
    bad_magic = ProtoExpert.new("mcp.expert.bad_magic", "No MCP frame begins here",
        expert.group.MALFORMED, expert.severity.ERROR),
    bad_version = ProtoExpert.new("mcp.expert.bad_version", "Unknown version",
        expert.group.MALFORMED, expert.severity.ERROR),
    too_large = ProtoExpert.new("mcp.expert.too_large", "The frame is too large",
        expert.group.MALFORMED, expert.severity.ERROR),
    unknown_type = ProtoExpert.new("mcp.expert.unknown_type", "Unknown type",
        expert.group.UNDECODED, expert.severity.ERROR),
    malformed = ProtoExpert.new("mcp.expert.malformed", "Malformed payload",
        expert.group.MALFORMED, expert.severity.ERROR),
    cut = ProtoExpert.new("mcp.expert.cut", "The capture has only a part of the frame",
        expert.group.UNDECODED, expert.severity.WARN),
    reused = ProtoExpert.new("mcp.expert.id_reused", "The id was used before on this connection",
        expert.group.SEQUENCE, expert.severity.ERROR),
    fault = ProtoExpert.new("mcp.expert.fault", "The call failed",
        expert.group.RESPONSE_CODE, expert.severity.NOTE),
    goaway = ProtoExpert.new("mcp.expert.goaway", "The connection is given up",
        expert.group.RESPONSE_CODE, expert.severity.WARN),
}
mcp.experts = experts

mcp.prefs.ports = Pref.range("TCP ports", "", "Ports on which everything is MCP; others are recognised by the first "
    .. "bytes of a connection or by Decode As", 65535)
mcp.prefs.max_payload = Pref.uint("Largest payload (bytes)", 16777216, "A longer frame is reported as too large")
mcp.prefs.bodies = Pref.bool("Dissect bodies", true, "Show JSON and Protobuf bodies by Wireshark's own dissectors")

-- Calls ----------------------------------------------------------------------------------------------------

-- A connection is a table of calls by id, and a call the numbers of its frames and when it was made. All of it is
-- noted when a segment is seen first: Wireshark makes no fields then (there is no tcp.stream to ask for), and
-- later it dissects again in any order.
local open = {}      -- the connection that two ends have now
local by_segment = {} -- the connection that a segment belongs to

function mcp.init()
    open, by_segment = {}, {}
end

local function ends(pinfo)
    local one = tostring(pinfo.src) .. " " .. pinfo.src_port
    local two = tostring(pinfo.dst) .. " " .. pinfo.dst_port
    return one < two and one .. " " .. two or two .. " " .. one
end

local function connection(pinfo)
    local calls = by_segment[pinfo.number]
    if not calls then
        local key = ends(pinfo)
        calls = open[key] or {}
        open[key], by_segment[pinfo.number] = calls, calls
    end
    return calls
end

local function elapsed(from, to)
    local seconds = math.max(to - from, 0)
    local whole = math.floor(seconds)
    return NSTime.new(whole, math.min(math.floor((seconds - whole) * 1e9 + 0.5), 999999999))
end

local function generated(tree, field, value)
    if value then tree:add(field, value):set_generated() end
end

local function link_request(id, pinfo, tree)
    local calls = connection(pinfo)
    local call = calls[id]
    if not call then
        call = { request = pinfo.number, time = pinfo.rel_ts }
        calls[id] = call
    elseif call.request ~= pinfo.number then
        tree:add_proto_expert_info(experts.reused, "The id was used before, in frame " .. call.request)
        return nil
    end
    generated(tree, fields.ack_in, call.ack)
    generated(tree, fields.response_in, call.answer)
    generated(tree, fields.cancel_in, call.cancel)
    return call
end

-- `what` is the member of the call that this frame is: "ack", "answer" or "cancel".
local function link_back(what, id, pinfo, tree)
    local call = connection(pinfo)[id]
    if not call then return nil end
    if not call[what] then call[what] = pinfo.number end
    generated(tree, fields.response_to, call.request)
    generated(tree, fields.time, elapsed(call.time, pinfo.rel_ts))
    if what == "ack" then generated(tree, fields.response_in, call.answer) end
    return call.method
end

-- Faults ---------------------------------------------------------------------------------------------------

local ESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function utf8_of(code)
    if code < 0x80 then return string.char(code) end
    if code < 0x800 then return string.char(0xC0 + math.floor(code / 64), 0x80 + code % 64) end
    local last, middle = 0x80 + code % 64, 0x80 + math.floor(code / 64) % 64
    if code < 0x10000 then return string.char(0xE0 + math.floor(code / 4096), middle, last) end
    return string.char(0xF0 + math.floor(code / 262144), 0x80 + math.floor(code / 4096) % 64, middle, last)
end

local json_value

local function json_string(text, at)
    local out = {}
    while true do
        local plain, stop = text:match('^([^"\\]*)()', at)
        out[#out + 1] = plain
        local c = text:sub(stop, stop)
        if c == '"' then return table.concat(out), stop + 1 end
        if c ~= "\\" then error("a string does not end") end
        local escape = text:sub(stop + 1, stop + 1)
        at = stop + 2
        if escape == "u" then
            local code = tonumber(text:match("^%x%x%x%x", at) or error("bad escape"), 16)
            at = at + 4
            local low = text:match("^\\u([dD][c-fC-F]%x%x)", at)
            if code >= 0xD800 and code < 0xDC00 and low then
                code = 0x10000 + (code - 0xD800) * 1024 + (tonumber(low, 16) - 0xDC00)
                at = at + 6
            end
            out[#out + 1] = utf8_of(code)
        else
            out[#out + 1] = ESCAPES[escape] or escape
        end
    end
end

local function json_list(text, at, depth, close, item)
    at = text:match("^%s*()", at)
    if text:sub(at, at) == close then return at + 1 end
    while true do
        at = text:match("^%s*()", item(at))
        local c = text:sub(at, at)
        if c == close then return at + 1 end
        if c ~= "," then error("a comma is missing") end
        at = at + 1
    end
end

-- A value and the position behind it; `null` is nil.
function json_value(text, at, depth)
    if depth > 32 then error("too deep") end
    at = text:match("^%s*()", at)
    local c = text:sub(at, at)
    if c == '"' then return json_string(text, at + 1) end
    local value = {}
    if c == "{" then
        at = json_list(text, at + 1, depth, "}", function(from)
            local quote = text:match('^%s*"()', from) or error("a name is missing")
            local name, after = json_string(text, quote)
            local colon = text:match("^%s*:()", after) or error("a colon is missing")
            value[name], after = json_value(text, colon, depth + 1)
            return after
        end)
        return value, at
    end
    if c == "[" then
        at = json_list(text, at + 1, depth, "]", function(from)
            local item, after = json_value(text, from, depth + 1)
            value[#value + 1] = item
            return after
        end)
        return value, at
    end
    local word, stop = text:match("^([%w%.%+%-]+)()", at)
    if word == "null" then return nil, stop end
    if word == "true" or word == "false" then return word == "true", stop end
    return tonumber(word) or error("no value"), stop
end

local function fault_of_json(text)
    local whole = json_value(text, 1, 0)
    return type(whole) == "table" and whole.error or nil
end

local FAULT_MEMBERS = { "code", "message", "cause", "trace_id", "retry_after_ms", "not_processed", "chain" }

local function varint(text, at)
    local value, scale = 0, 1
    for _ = 1, 10 do
        local byte = text:byte(at) or error("cut short")
        at = at + 1
        value = value + byte % 128 * scale
        if byte < 128 then return value, at end
        scale = scale * 128
    end
    error("a number does not end")
end

local function fault_of_protobuf(text)
    local fault, at = { chain = {} }, 1
    while at <= #text do
        local tag, value
        tag, at = varint(text, at)
        local wire, member = tag % 8, FAULT_MEMBERS[math.floor(tag / 8)]
        if wire == 0 then
            value, at = varint(text, at)
            if member == "not_processed" then value = value ~= 0 end
        elseif wire == 2 then
            local len
            len, at = varint(text, at)
            if at + len - 1 > #text then error("cut short") end
            value, at = text:sub(at, at + len - 1), at + len
        elseif wire == 1 or wire == 5 then
            at, member = at + (wire == 1 and 8 or 4), nil
        else
            error("unknown wire type")
        end
        if member == "chain" then
            fault.chain[#fault.chain + 1] = value
        elseif member and value ~= "" then
            fault[member] = value
        end
    end
    return fault
end

-- The fault's code, for the info column.
local function add_fault(codec, body, tree)
    local ok, fault = pcall(codec == 2 and fault_of_protobuf or fault_of_json, body:raw())
    local under = tree:add(fields.fault, body)
    if not ok or type(fault) ~= "table" or type(fault.code) ~= "string" then
        under:add_proto_expert_info(experts.malformed, "The fault cannot be read")
        return nil
    end
    local function add(field, value, kind)
        if type(value) == kind then under:add(field, body, value) end
    end
    add(fields.fault_code, fault.code, "string")
    add(fields.fault_message, fault.message, "string")
    add(fields.fault_cause, fault.cause, "string")
    add(fields.fault_trace_id, fault.trace_id, "string")
    local retry = fault.retry_after_ms
    if type(retry) == "number" and retry >= 0 and retry < 4294967296 then
        add(fields.fault_retry, math.floor(retry), "number")
    end
    add(fields.fault_not_processed, fault.not_processed, "boolean")
    if type(fault.chain) == "table" then
        for i = 1, math.min(#fault.chain, MAX_CHAIN) do add(fields.fault_chain, fault.chain[i], "string") end
    end
    local text = fault.code
    if type(fault.message) == "string" and fault.message ~= "" then text = text .. ": " .. fault.message end
    under:append_text(" " .. text)
    under:add_proto_expert_info(experts.fault, text)
    return fault.code
end

-- Parts of a payload ---------------------------------------------------------------------------------------

local function malformed(tree, text)
    tree:add_proto_expert_info(experts.malformed, text)
    return nil
end

-- False if the entries do not add up.
local function add_metadata(block, tree)
    local under = tree:add(fields.metadata, block)
    local at, count = 0, 0
    while at < block:len() do
        local left = block:len() - at
        local key_len = left >= 6 and block(at, 2):uint() or 0
        local value_len = left >= 6 and block(at + 2, 4):uint() or 0
        if left < 6 or key_len == 0 or key_len + value_len > left - 6 then
            malformed(under, "The entries do not add up")
            return false
        end
        local key = block(at + 6, key_len)
        local entry = under:add(fields.entry, block(at, 6 + key_len + value_len), key:string())
        entry:add(fields.key, key)
        if value_len > 0 then
            local value = block(at + 6 + key_len, value_len)
            entry:add(fields.value, value)
            entry:append_text(": " .. value:string())
        else
            entry:add(fields.value, block(at + 6 + key_len - 1, 0), "")
        end
        at, count = at + 6 + key_len + value_len, count + 1
    end
    under:append_text(string.format(" (%d)", count))
    return true
end

local BODIES = { [1] = "json", [2] = "protobuf" }

local function add_body(body, codec, compressed, pinfo, tree)
    if not body then return end
    local under = tree:add(fields.body, body)
    if compressed then
        if body:len() < 5 then return malformed(under, "A compressed body is shorter than its head") end
        under:add(fields.algorithm, body(0, 1))
        under:add(fields.plain_len, body(1, 4))
    elseif mcp.prefs.bodies and BODIES[codec] then
        -- A body that its dissector trips over must not take the frame with it.
        pcall(function() Dissector.get(BODIES[codec]):call(body:tvb(), pinfo, tree) end)
    end
end

-- A slice, or nil where it is empty: an empty TvbRange cannot be made.
local function slice(payload, at, len)
    if len == nil then len = payload:len() - at end
    return len > 0 and payload(at, len) or nil
end

local function add_request(payload, id, pinfo, tree)
    if payload:len() < 20 then return malformed(tree, "A REQUEST is shorter than its head") end
    tree:add(fields.timeout_ms, payload(8, 4))
    tree:add(fields.codec, payload(12, 1))
    local flags = tree:add(fields.flags, payload(13, 1))
    for _, bit in ipairs({ fields.one_way, fields.async, fields.idempotent, fields.compressed }) do
        flags:add(bit, payload(13, 1))
    end
    local bits = payload(13, 1):uint()
    if bits >= 16 or bits % 4 == 3 then malformed(flags, "Flags that are not allowed") end
    tree:add(fields.method_len, payload(14, 2))
    tree:add(fields.metadata_len, payload(16, 4))
    local call = link_request(id, pinfo, tree)
    local method_len, metadata_len = payload(14, 2):uint(), payload(16, 4):uint()
    if method_len == 0 then return malformed(tree, "The method is empty") end
    if 20 + method_len + metadata_len > payload:len() then
        return malformed(tree, "Method and metadata are longer than the payload")
    end
    local method = payload(20, method_len)
    tree:add(fields.method, method)
    if call then call.method = method:string() end
    local block = slice(payload, 20 + method_len, metadata_len)
    if block and not add_metadata(block, tree) then return method:string() end
    local body = slice(payload, 20 + method_len + metadata_len)
    add_body(body, payload(12, 1):uint(), bits % 16 >= 8, pinfo, tree)
    return method:string()
end

local function add_response(payload, id, pinfo, tree)
    local method = link_back("answer", id, pinfo, tree)
    if payload:len() < 16 then return malformed(tree, "An answer is shorter than its head") end
    tree:add(fields.status, payload(8, 1))
    tree:add(fields.codec, payload(9, 1))
    local flags = tree:add(fields.answer_flags, payload(10, 2))
    flags:add(fields.answer_compressed, payload(10, 2))
    tree:add(fields.metadata_len, payload(12, 4))
    local status, codec, metadata_len = payload(8, 1):uint(), payload(9, 1):uint(), payload(12, 4):uint()
    if status > 1 then malformed(tree, "Unknown status") end
    if 16 + metadata_len > payload:len() then
        return malformed(tree, "The metadata is longer than the payload")
    end
    local block = slice(payload, 16, metadata_len)
    if block and not add_metadata(block, tree) then return nil end
    local body = slice(payload, 16 + metadata_len)
    local compressed = payload(10, 2):uint() % 2 == 1
    local says = STATUS[status] or "?"
    if status == 1 and not compressed then
        if not body then return malformed(tree, "The fault is empty") end
        says = add_fault(codec, body, tree) or says
    end
    add_body(body, codec, compressed, pinfo, tree)
    return method and method .. " " .. says or says
end

local function add_goaway(payload, tree)
    if payload:len() < 17 then return malformed(tree, "A GOAWAY is shorter than 17 bytes") end
    tree:add(fields.reason, payload(8, 1))
    tree:add(fields.last_id, payload(9, 8))
    local reason = payload(8, 1):uint()
    local says = REASONS[reason] or "reason " .. reason
    local text = slice(payload, 17)
    if text then
        tree:add(fields.text, text)
        tree:add_proto_expert_info(experts.goaway, says .. ": " .. text:string())
    else
        tree:add_proto_expert_info(experts.goaway, says)
    end
    return says
end

local function add_settings(payload, tree)
    local at = 8
    while payload:len() - at >= 6 do
        local key = payload(at, 2):uint()
        local pair = tree:add(fields.setting, payload(at, 2))
        pair:add(fields.setting_value, payload(at + 2, 4))
        if SETTING_FIELDS[key] then pair:add(SETTING_FIELDS[key], payload(at + 2, 4)) end
        at = at + 6
    end
    if at < payload:len() then malformed(tree, "The pairs do not add up") end
end

local BACK = { [ACK] = "ack", [CANCEL] = "cancel" }

-- What the info column says of a payload, or nil.
local function add_payload(kind, payload, pinfo, tree)
    if kind >= EXTENSIONS then
        if payload then tree:add(fields.extension, payload) end
        return string.format("extension %02x", kind)
    end
    if not payload or payload:len() < 8 then return malformed(tree, "The payload is too short for its id") end
    tree:add(fields.id, payload(0, 8))
    local id = tostring(payload(0, 8):uint64())
    if id == "0" and (kind <= PUSH or kind == CANCEL) then malformed(tree, "The id is 0") end
    local says
    if kind == REQUEST then
        says = add_request(payload, id, pinfo, tree)
    elseif kind == RESPONSE or kind == PUSH then
        says = add_response(payload, id, pinfo, tree)
    elseif BACK[kind] then
        says = link_back(BACK[kind], id, pinfo, tree)
    elseif kind == GOAWAY then
        return add_goaway(payload, tree)
    elseif kind == SETTINGS then
        return add_settings(payload, tree)
    end
    return says and id .. " " .. says or id
end

-- Frames ---------------------------------------------------------------------------------------------------

local function unreadable(tvb, at, expert_info, text, root)
    local tree = root:add(mcp, tvb(at), "Microservice Communication Protocol, unreadable")
    tree:add_proto_expert_info(expert_info, text)
    return tree
end

-- What is wrong with a header, as far as it is there: the expert info and a text. In the order in which a
-- receiver checks.
local function objection(tvb, at)
    local left = tvb:len() - at
    if tvb(at, 1):uint() ~= 0x4D or left >= 2 and tvb(at + 1, 1):uint() ~= 0x43 then
        return experts.bad_magic, "Bad magic: no MCP frame begins here"
    end
    if left >= 3 and tvb(at + 2, 1):uint() ~= VERSION then
        return experts.bad_version, "Version " .. tvb(at + 2, 1):uint()
    end
    if left >= HEADER and tvb(at + 4, 4):uint() > mcp.prefs.max_payload then
        return experts.too_large, "A payload of " .. tvb(at + 4, 4):uint() .. " bytes"
    end
    if left >= 4 then
        local kind = tvb(at + 3, 1):uint()
        if not TYPES[kind] and kind < EXTENSIONS then
            return experts.unknown_type, string.format("Type %02x", kind)
        end
    end
end

-- One whole frame; returns what the info column says of it.
local function add_frame(frame, pinfo, root)
    local kind = frame(3, 1):uint()
    local name = TYPES[kind] or "EXTENSION"
    local tree = root:add(mcp, frame, "Microservice Communication Protocol, " .. name)
    tree:add(fields.magic, frame(0, 2))
    tree:add(fields.version, frame(2, 1))
    tree:add(fields.type, frame(3, 1))
    tree:add(fields.length, frame(4, 4))
    local says = add_payload(kind, slice(frame, HEADER), pinfo, tree)
    if says then tree:append_text(" " .. says) end
    return says and name .. " " .. says or name
end

local function dissect(tvb, pinfo, root)
    local at, said = 0, {}
    local whole = tvb:len() == tvb:reported_length_remaining(0)
    while at < tvb:len() do
        local left = tvb:len() - at
        local why, text = objection(tvb, at)
        if why then
            -- Nothing after it can be trusted: the receiver answers GOAWAY and closes.
            unreadable(tvb, at, why, text, root)
            said[#said + 1] = text
            break
        end
        local want = left >= HEADER and HEADER + tvb(at + 4, 4):uint() or HEADER
        if left < want then
            if whole and pinfo.can_desegment > 0 then
                -- The rest is in later segments: come again with it.
                pinfo.desegment_offset = at
                pinfo.desegment_len = left >= HEADER and want - left or DESEGMENT_ONE_MORE_SEGMENT
            else
                unreadable(tvb, at, experts.cut, "The capture has only a part of the frame", root)
                said[#said + 1] = "cut short"
            end
            break
        end
        said[#said + 1] = add_frame(tvb(at, want), pinfo, root)
        at = at + want
    end
    -- Last, since the bodies' dissectors write there too; fenced, since one segment may come in two parts.
    if #said > 0 then
        pinfo.cols.protocol:set("MCP")
        pinfo.cols.info:set(table.concat(said, ", ") .. " ")
        pinfo.cols.info:fence()
    end
    return tvb:len()
end

mcp.dissector = dissect

-- Where it is found ----------------------------------------------------------------------------------------

-- By the first bytes of a segment, at least up to the type; from then on the whole connection is MCP, also
-- what is wrong in it.
local function recognise(tvb, pinfo, root)
    if tvb:len() < 4 or objection(tvb, 0) then return false end
    pinfo.conversation = mcp
    -- Asked once per connection: ports that were used before begin anew.
    if not pinfo.visited then open[ends(pinfo)] = nil end
    -- The function itself: called through the protocol, it may ask for no later segments any more.
    dissect(tvb, pinfo, root)
    return true
end

mcp:register_heuristic("tcp", recognise)

local tcp_ports = DissectorTable.get("tcp.port")
tcp_ports:add_for_decode_as(mcp)
-- Decrypted TLS names it by ALPN.
pcall(function() DissectorTable.get("tls.alpn"):add("mcp/1", mcp) end)

local ports = ""
function mcp.prefs_changed()
    if ports == mcp.prefs.ports then return end
    if ports ~= "" then tcp_ports:remove(ports, mcp) end
    ports = mcp.prefs.ports
    if ports ~= "" then tcp_ports:add(ports, mcp) end
end

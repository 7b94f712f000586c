-- The third message of a burst of two is put off at MAIL; another sender's is not.

-- miltertest keeps the text of a Lua error to itself.
local function fail(text)
    mt.echo(text)
    error(text)
end

local conn = mt.connect(outgoing)
if conn == nil then
    fail "cannot connect"
end
if mt.negotiate(conn, 6, nil, nil) ~= nil then
    fail "negotiation failed"
end
local function mail(sender)
    if mt.mailfrom(conn, sender) ~= nil then
        fail "MAIL failed"
    end
    local reply = mt.getreply(conn)
    if mt.abort(conn) ~= nil then
        fail "ABORT failed"
    end
    return reply
end
for _ = 1, 2 do
    if mail("<frank@chat.test>") ~= SMFIR_CONTINUE then
        fail "a message within the burst was put off"
    end
end
if mail("<frank@chat.test>") ~= SMFIR_REPLYCODE then
    fail "the message beyond the burst was not put off"
end
if mail("<grace@chat.test>") ~= SMFIR_CONTINUE then
    fail "somebody else's message was put off"
end
mt.disconnect(conn)

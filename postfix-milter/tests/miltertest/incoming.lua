-- Mail of another host: a recipient who is not there is refused, and so is a message that its From
-- domain did not sign.

-- miltertest keeps the text of a Lua error to itself.
local function fail(text)
    mt.echo(text)
    error(text)
end

local function must(what, error_text)
    if error_text ~= nil then
        fail(what .. ": " .. tostring(error_text))
    end
end

local conn = mt.connect(incoming)
if conn == nil then
    fail "cannot connect"
end
must("negotiate", mt.negotiate(conn, 6, nil, nil))
must("MAIL", mt.mailfrom(conn, "<carol@elsewhere.test>"))
must("RCPT", mt.rcptto(conn, "<nobody@chat.test>"))
if mt.getreply(conn) ~= SMFIR_REPLYCODE then
    fail "a recipient who is not there was not refused"
end
must("RCPT", mt.rcptto(conn, "<bob@chat.test>"))
if mt.getreply(conn) ~= SMFIR_CONTINUE then
    fail "Bob was refused"
end
must("From", mt.header(conn, "From", "carol@elsewhere.test"))
must("Content-Type", mt.header(conn, "Content-Type",
    'multipart/encrypted; protocol="application/pgp-encrypted";\n\tboundary="b0"'))
must("MIME-Version", mt.header(conn, "MIME-Version", "1.0"))
must("end of header", mt.eoh(conn))
must("body", mt.bodyfile(conn, body))
must("end of message", mt.eom(conn))
if not mt.eom_check(conn, MT_SMTPREPLY, "554", "5.7.1", "No DKIM signature found") then
    fail "an unsigned message was not refused"
end
mt.disconnect(conn)

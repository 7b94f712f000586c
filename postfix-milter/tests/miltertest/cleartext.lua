-- A message anybody can read is refused with 523 and no enhanced status code.

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

local conn = mt.connect(outgoing)
if conn == nil then
    fail "cannot connect"
end
must("negotiate", mt.negotiate(conn, 6, nil, nil))
must("login", mt.macro(conn, SMFIC_MAIL, "{auth_authen}", "dora@chat.test"))
must("MAIL", mt.mailfrom(conn, "<dora@chat.test>"))
must("RCPT", mt.rcptto(conn, "<bob@chat.test>"))
must("From", mt.header(conn, "From", "dora@chat.test"))
must("Subject", mt.header(conn, "Subject", "Lunch"))
must("end of header", mt.eoh(conn))
must("body", mt.bodystring(conn, "Shall we have lunch?\r\n"))
must("end of message", mt.eom(conn))
if mt.getreply(conn) ~= SMFIR_REPLYCODE then
    fail("no reply of the filter's own: " .. mt.getreply(conn))
end
-- miltertest takes the first word after the code for an enhanced status code.
if not mt.eom_check(conn, MT_SMTPREPLY, "523", "Encryption", "Needed: Invalid Unencrypted Mail") then
    fail "not the reply that clients know"
end
mt.disconnect(conn)

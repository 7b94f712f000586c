-- An encrypted message passes; its Subject is hidden, its User-Agent removed, and it is signed.

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
for _, step in ipairs { SMFIP_NOCONNECT, SMFIP_NOHELO, SMFIP_NODATA, SMFIP_NR_HDR, SMFIP_NR_EOH, SMFIP_NR_BODY } do
    if not mt.test_option(conn, step) then
        fail("a step that is not needed was not turned off: " .. step)
    end
end
if not mt.test_action(conn, SMFIF_CHGHDRS) then
    fail "header changes were not asked for"
end

must("login", mt.macro(conn, SMFIC_MAIL, "{auth_authen}", "carla@chat.test"))
must("MAIL", mt.mailfrom(conn, "<carla@chat.test>"))
if mt.getreply(conn) ~= SMFIR_CONTINUE then
    fail "MAIL was not accepted"
end
must("RCPT", mt.rcptto(conn, "<bob@elsewhere.test>"))
must("macro", mt.macro(conn, SMFIC_RCPT, "i", "4DFF6990062"))
must("From", mt.header(conn, "From", "carla@chat.test"))
must("Subject", mt.header(conn, "Subject", "Lunch"))
must("User-Agent", mt.header(conn, "User-Agent", "one"))
must("User-Agent", mt.header(conn, "User-Agent", "two"))
must("Content-Type", mt.header(conn, "Content-Type",
    'multipart/encrypted; protocol="application/pgp-encrypted";\n\tboundary="b0"'))
must("MIME-Version", mt.header(conn, "MIME-Version", "1.0"))
must("end of header", mt.eoh(conn))
must("body", mt.bodyfile(conn, body))
must("end of message", mt.eom(conn))
if mt.getreply(conn) ~= SMFIR_CONTINUE then
    fail("the message was not accepted: " .. mt.getreply(conn))
end
-- The space behind the colon is the filter's to write: SMFIP_HDR_LEADSPC.
if not mt.eom_check(conn, MT_HDRCHANGE, "Subject", " [...]") then
    fail "the Subject was left as it was"
end
if not mt.eom_check(conn, MT_HDRDELETE, "user-agent") then
    fail "the User-Agent was left"
end
if not mt.eom_check(conn, MT_HDRINSERT, "DKIM-Signature") then
    fail "there is no signature"
end
mt.disconnect(conn)

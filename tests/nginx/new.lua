-- For wrk: POSTs to an address and writes down each answer, `STATUS BODY` on a line, to PREFIX.N of thread N.
-- At the end, on the last line of standard output: answers, errors of connections, microseconds.
--
-- wrk --script new.lua https://127.0.0.1:PORT/new -- PREFIX

local threads = 0

function setup(thread)
    threads = threads + 1
    thread:set("number", threads)
end

function init(args)
    wrk.method = "POST"
    answers = assert(io.open(args[1] .. "." .. number, "w"))
    -- wrk ends without closing it.
    answers:setvbuf("line")
end

function response(status, headers, body)
    answers:write(status, " ", (body:gsub("%s+", " ")), "\n")
end

function done(summary, latency, requests)
    local errors = summary.errors
    print(summary.requests, errors.connect + errors.read + errors.write, summary.duration)
end

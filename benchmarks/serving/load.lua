-- wrk asks with the bodies of a folder in turn: wrk -s load.lua URL -- CONTENT-TYPE FOLDER
local requests, at = {}, 0

function init(args)
   local headers = { ["Content-Type"] = args[1] }
   local i = 0
   while true do
      local file = io.open(args[2] .. "/" .. i, "rb")
      if not file then break end
      requests[i + 1] = wrk.format("POST", nil, headers, file:read("*a"))
      file:close()
      i = i + 1
   end
end

function request()
   at = at % #requests + 1
   return requests[at]
end

function done(summary, latency, requests)
   local failed = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "seconds": %.6f, "failed": %d, "p50": %.3f, "p99": %.3f}\n',
      summary.requests, summary.duration / 1e6, failed.connect + failed.read + failed.write + failed.status + failed.timeout,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end

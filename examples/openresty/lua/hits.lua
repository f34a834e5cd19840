-- Counts in Redis, by lua-resty-redis as Debian packages it (lua-nginx-redis); port 6379 as ever.
local redis = require "nginx.redis"
local TIMEOUT_MS, IDLE_MS, POOL = 2000, 10000, 32

local function counted(name)
    local client = redis:new()
    client:set_timeout(TIMEOUT_MS)
    local connected, problem = client:connect("127.0.0.1", 6379)
    if not connected then
        return nil, problem
    end
    local count, failed = client:incr("hits:" .. name)
    if not count then
        return nil, failed
    end
    client:set_keepalive(IDLE_MS, POOL)
    return count
end

local function answer()
    local name = ngx.var.uri:match("^/hits/(%w+)$") or "all"
    local count, problem = counted(name)
    if not count then
        ngx.status = 503
        ngx.say("redis: ", problem)
        return
    end
    ngx.say(os.getenv("ENGINX_NUMBER"), " ", count)
end

return { answer = answer }

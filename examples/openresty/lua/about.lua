-- What each worker has made once it keeps for a while, by lua-resty-lrucache.
local lrucache = require "resty.lrucache"
local KEPT, SECONDS = 200, 60
local cache = assert(lrucache.new(KEPT))

local function answer()
    local name = ngx.var.uri:match("^/about/(%w+)$") or "all"
    local text = cache:get(name)
    local how = text and "kept" or "made"
    if not text then
        text = os.getenv("GREETING") .. ", " .. name
        cache:set(name, text, SECONDS)
    end
    ngx.say(os.getenv("ENGINX_NUMBER"), " ", how, ": ", text)
end

return { answer = answer }

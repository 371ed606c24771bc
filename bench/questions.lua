-- What wrk asks: the word after `--` says which of the lists below, one request after the other.

local symbols = {"BTCUSDT", "DOGEUSDT", "TONUSDT", "SOLUSDT", "ETHUSDT"}
local exchanges = {"exchange1/", "exchange2/", "exchange3/", ""}
local periods = {"1s", "5s", "10s", "30s", "1m", "2m", "3m", "5m"}
local browser = {
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
  ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
  ["Accept-Language"] = "en-GB,en;q=0.7,de;q=0.3",
  ["Accept-Encoding"] = "gzip, deflate, br, zstd",
  ["Connection"] = "keep-alive",
  ["Cookie"] = "theme=dark; session=0123456789abcdef0123456789abcdef",
  ["Sec-Fetch-Dest"] = "empty",
  ["Sec-Fetch-Mode"] = "cors",
  ["Sec-Fetch-Site"] = "same-origin",
  ["Cache-Control"] = "no-cache",
}

local requests, at = {}, 0

local function add(path, headers)
  requests[#requests + 1] = wrk.format("GET", path, headers)
end

local lists = {}

function lists.same()
  add("/prices/latest/BTCUSDT")
end

-- no two requests are alike
function lists.varied()
  browser["Host"] = wrk.headers["Host"]
  for number = 1, 1000 do
    local exchange, symbol = exchanges[number % 4 + 1], symbols[number % 5 + 1]
    add("/prices/latest/" .. exchange .. symbol .. "?_=" .. 1746448612345 + number, browser)
  end
end

function lists.mix()
  for _, symbol in ipairs(symbols) do
    for _, period in ipairs(periods) do
      for _, what in ipairs({"highest", "lowest", "average"}) do
        add("/prices/" .. what .. "/" .. symbol .. "?period=" .. period)
      end
      add("/prices/latest/" .. symbol)
    end
  end
end

-- so many assets that no two refreshes are shared
function lists.refresh()
  wrk.method = "POST"
  for number = 1000, 8999 do
    requests[#requests + 1] = wrk.format("POST", "/refresh/symbol" .. number)
  end
end

function init(arguments)
  lists[arguments[1]]()
end

function request()
  at = at % #requests + 1
  return requests[at]
end

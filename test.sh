#!/bin/sh
# Smoke test of a running service: aggregated asset prices, from the exchanges to the cache.
# Needs curl; redis-cli if the service uses Redis. Status 0: every check is ok, 1: one failed.
#
#   BASE=http://127.0.0.1:8080 ./test.sh
#
#   ASSET      the asset to refresh and read, in lower case (btcusdt)
#   EXCHANGES  the mock exchanges, separated by spaces; empty: they are not checked
#   TOKEN      http.admin_token, if the service has one
#   REDIS_URL  where the service's Redis is (redis://127.0.0.1:6379); a password belongs in
#              REDISCLI_AUTH, which redis-cli reads itself
set -u

BASE=${BASE:-http://127.0.0.1:8080}
BASE=${BASE%/}
ASSET=${ASSET:-btcusdt}
EXCHANGES=${EXCHANGES-http://127.0.0.1:8081 http://127.0.0.1:8082 http://127.0.0.1:8083}
TOKEN=${TOKEN:-}
REDIS_URL=${REDIS_URL:-redis://127.0.0.1:6379}
UPPER=$(printf %s "$ASSET" | tr '[:lower:]' '[:upper:]')

passed=0 failed=0 skipped=0
header='' status='' body=''

one_line() { printf %s "$1" | tr '\n' ' ' | cut -c 1-200; }
ok() { passed=$((passed + 1)); printf 'ok       %s\n' "$1"; }
fail() { failed=$((failed + 1)); printf 'FAILED   %s: %s\n' "$1" "$(one_line "$2")"; }
skip() { skipped=$((skipped + 1)); printf 'skipped: %s: %s\n' "$1" "$2"; }

# ask URL [curl's options]: sets $status (000 if there was no answer) and $body
ask() {
    # the header goes in by standard input: arguments are everybody's to read
    body=$(printf %s "$header" | curl -sS --max-time 10 -H @- -w '\n%{http_code}' "$@" 2>&1)
    status=$(printf '%s\n' "$body" | tail -n 1)
    body=$(printf '%s\n' "$body" | sed '$d' | sed 's/": */":/g')
}

# post URL: of the service, which alone may see the token
post() {
    header=${TOKEN:+Authorization: Bearer $TOKEN}
    ask -X POST "$1"
    header=''
}

# members NAME: every number or text of that name in $body, one a line
members() { printf '%s\n' "$body" | grep -o "\"$1\":[^,}]*" | sed 's/^[^:]*://; s/^"//; s/"$//'; }
member() { members "$1" | head -n 1; }
answer() { printf %s "status $status, $body"; }

is_price() { printf '%s\n' "$1" | grep -Eq '^[0-9.]*[1-9][0-9.]*(e[+-]?[0-9]+)?$'; }

check_exchange() {
    what="$1 quotes $ASSET"
    ask "$1/mock/ticker/$ASSET"
    if [ "$status" = 200 ] && [ "$(member symbol)" = "$ASSET" ] && is_price "$(member price)"; then
        ok "$what"
    else
        fail "$what" "$(answer)"
    fi
}

check_health() {
    ask "$BASE/health"
    uses_redis=$(printf '%s\n' "$body" | grep -o '"redis":{[^}]*}' | grep -c '"configured":true')
    mode=$(member mode)
    if [ "$status" = 200 ]; then
        ok "$BASE/health says $(member status), mode $mode"
    else
        fail "GET /health" "$(answer)"
    fi
}

check_refresh() {
    what="POST /refresh/$ASSET"
    post "$BASE/refresh/$ASSET"
    if [ "$status" = 200 ] && [ "$(member message)" = "Price for $ASSET refreshed" ]; then
        ok "$what"
    else
        fail "$what" "$(answer)"
    fi
}

check_price() {
    what="GET /prices/$ASSET"
    ask "$BASE/prices/$ASSET"
    if [ "$status" = 200 ] && [ "$(member asset)" = "$ASSET" ] && is_price "$(member price)"; then
        ok "$what: $(member price), last updated $(member last_updated)"
    else
        fail "$what" "$(answer)"
    fi
}

check_case() {
    what="GET /prices/$UPPER answers the same"
    for _ in 1 2 3; do # the price may be refreshed between the two
        ask "$BASE/prices/$ASSET"
        lower="$status $(member asset) $(member price) $(member last_updated)"
        ask "$BASE/prices/$UPPER"
        upper="$status $(member asset) $(member price) $(member last_updated)"
        if [ "$lower" = "$upper" ]; then break; fi
    done
    if [ "$lower" = "$upper" ] && [ "$status" = 200 ]; then
        ok "$what"
    else
        fail "$what" "$lower, $upper"
    fi
}

# check_unknown ask|post METHOD PATH
check_unknown() {
    what="$2 $3 is refused"
    "$1" "$BASE$3"
    if [ "$status" = 400 ] && [ "$(member msg)" = "Invalid asset symbol" ]; then
        ok "$what"
    else
        fail "$what" "$(answer)"
    fi
}

check_history() {
    what="GET /assets/$ASSET/history has the refreshed price"
    price=none
    for _ in 1 2 3; do # of two prices with one exchange time the newer stays
        post "$BASE/refresh/$ASSET"
        if [ "$status" != 200 ]; then break; fi
        price=$(member price)
        for _ in 1 2 3 4; do # it is written in batches
            ask "$BASE/assets/$ASSET/history?limit=20"
            if [ "$status" = 200 ] && members price | grep -Fqx "$price"; then
                ok "$what"
                return
            fi
            sleep 1
        done
    done
    fail "$what" "wanted $price, $(answer)"
}

check_redis() {
    key="marketflow:$mode:asset:$ASSET"
    what="redis has $key for a limited time"
    if [ "$uses_redis" = 0 ]; then
        skip "$what" "/health says the service uses no redis"
    elif ! command -v redis-cli >/dev/null; then
        skip "$what" "redis-cli is not installed"
    elif ! pong=$(redis-cli -u "$REDIS_URL" PING 2>&1) || [ "$pong" != PONG ]; then
        fail "$what" "redis-cli PING: $pong"
    else
        left_ms=$(redis-cli -u "$REDIS_URL" PTTL "$key" 2>&1)
        if [ "$left_ms" -gt 0 ] 2>/dev/null; then
            ok "$what"
        else
            fail "$what" "redis-cli PTTL: $left_ms"
        fi
    fi
}

for exchange in $EXCHANGES; do
    check_exchange "$exchange"
done
if [ -z "$EXCHANGES" ]; then skip "mock exchanges" "EXCHANGES is empty"; fi
check_health
check_refresh
check_price
check_case
check_unknown ask GET /prices/nosuchasset
check_unknown post POST /refresh/nosuchasset
check_history
check_redis

printf '%s ok, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]

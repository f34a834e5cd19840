# What the scripts share: where everything is, and a question to one of the servers.
export PATH=/usr/lib/postgresql/15/bin:$PATH PGPORT=6430 LC_ALL=C.UTF-8
servers="1 2 3"

# ask NUMBER SQL: the answer as bare text, by the server's Unix socket, which its own user alone may use
ask() {
    PGCONNECT_TIMEOUT=2 PGOPTIONS="-c statement_timeout=2s" psql -XAtq -h "$POSTGRES_STATE/socket/$1" -c "$2" postgres \
        2>/dev/null
}

# The number of the server that is the primary; false: none is
primary() {
    local number
    for number in $servers; do
        if [ "$(ask "$number" 'SELECT pg_is_in_recovery()')" = f ]; then
            echo "$number"
            return
        fi
    done
    return 1
}

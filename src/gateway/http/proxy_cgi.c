/* FastCGI, uwsgi and SCGI to endpoints: connections of h1_client, heads of CGI variables (cgi.h).
 */
#include "gateway/http/cgi.h"
#include "gateway/http/proxy_h1.h"

static int fastcgi_begin(struct proxy *proxy)
{
    int error = proxy_connection_begin(proxy, true);
    if (!error)
        h1_client_fastcgi((struct h1_client *)proxy->courier,
                          proxy_service(proxy)->gateway.idle_max > 0);
    return error;
}

/* The body goes as it is: its length is told. */
static int plain_begin(struct proxy *proxy)
{
    int error = proxy_connection_begin(proxy, false);
    if (!error)
        h1_client_cgi((struct h1_client *)proxy->courier);
    return error;
}

static ssize_t fastcgi_request(struct proxy *proxy, const struct courier_piece *piece)
{
    struct text text = {.bytes = proxy->exchange->worker->output};
    int error = fastcgi_head_put(proxy, &text);
    return error ? error : proxy_head_send(proxy, &text, piece);
}

static ssize_t uwsgi_request(struct proxy *proxy, const struct courier_piece *piece)
{
    struct text text = {.bytes = proxy->exchange->worker->output};
    int error = uwsgi_head_put(proxy, &text);
    return error ? error : proxy_head_send(proxy, &text, piece);
}

static ssize_t scgi_request(struct proxy *proxy, const struct courier_piece *piece)
{
    struct text text = {.bytes = proxy->exchange->worker->output};
    int error = scgi_head_put(proxy, &text);
    return error ? error : proxy_head_send(proxy, &text, piece);
}

const struct proxy_protocol proxy_fastcgi = {
    .name = "FastCGI",
    .begin = fastcgi_begin,
    .request = fastcgi_request,
};

const struct proxy_protocol proxy_uwsgi = {
    .name = "uwsgi",
    .begin = plain_begin,
    .request = uwsgi_request,
};

const struct proxy_protocol proxy_scgi = {
    .name = "SCGI",
    .begin = plain_begin,
    .request = scgi_request,
};

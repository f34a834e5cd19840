#include "tls/transport.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>

static int transport_read(BIO *bio, char *bytes, int size)
{
    struct transport *transport = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (size <= 0)
        return 0;
    ssize_t count = recv(transport->fd, bytes, (size_t)size, 0);
    transport->drained = count < size && count != 0;
    transport->ended = count == 0;
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(bio);
    return (int)count;
}

static int transport_write(BIO *bio, const char *bytes, int length)
{
    struct transport *transport = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t count = send(transport->fd, bytes, (size_t)length, MSG_NOSIGNAL);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(bio);
    return (int)count;
}

static long transport_control(BIO *bio, int command, long number, void *pointer)
{
    (void)number, (void)pointer;
    const struct transport *transport = BIO_get_data(bio);
    switch (command) {
    case BIO_CTRL_FLUSH: /* nothing is held back */
        return 1;
    case BIO_CTRL_EOF:
        return transport->ended;
    default:
        return 0;
    }
}

static BIO_METHOD *method;

static void method_make(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "enginx");
    if (!method)
        return;
    BIO_meth_set_read(method, transport_read);
    BIO_meth_set_write(method, transport_write);
    BIO_meth_set_ctrl(method, transport_control);
}

BIO *transport_new(struct transport *transport, int fd)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, method_make);
    BIO *bio = method ? BIO_new(method) : NULL;
    if (!bio)
        return NULL;
    *transport = (struct transport){.fd = fd};
    BIO_set_data(bio, transport);
    BIO_set_init(bio, 1);
    return bio;
}

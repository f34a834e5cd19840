#include <errno.h>

#include "gateway/http/h1_client_private.h"

/* One whose bytes are the body's, whatever they are. */
static bool place_fits(const struct h1_client *client)
{
    bool as_it_is = client->body == BODY_LENGTH || client->body == BODY_CLOSE;
    return client->state == CLIENT_BODY && as_it_is && !client->fastcgi && client->calls->place;
}

static void body_over(struct h1_client *client)
{
    client->state = CLIENT_OVER;
    client->deadline_ms = UINT64_MAX;
    client->calls->body(client->owner, "", 0, true);
}

/* From the socket. False: there is nothing now, or it has ended, or it was the last of it. */
static bool place_fill(struct h1_client *client, char *bytes, size_t size)
{
    bool bounded = client->body == BODY_LENGTH;
    if (bounded && client->body_left < size)
        size = (size_t)client->body_left;
    ssize_t count = stream_read(&client->stream, bytes, size);
    if (count <= 0) {
        if (count != -EAGAIN)
            client_read_ended(client, count);
        return false;
    }
    client_deadline(client, client->times.read);
    client->calls->placed(client->owner, (size_t)count);
    client->body_left -= bounded ? (uint64_t)count : 0;
    if (!bounded || client->body_left)
        return true;
    body_over(client);
    return false;
}

bool client_place(struct h1_client *client)
{
    if (!place_fits(client))
        return false;
    for (int turns = 0; turns < CLIENT_READS_MAX; turns++) {
        char *bytes;
        ssize_t room = client->calls->place(client->owner, &bytes);
        if (room < 0)
            return false;
        if (room == 0) {
            client->wanted = false;
            client->deadline_ms = UINT64_MAX; /* the client is slow, not the endpoint */
            return true;
        }
        if (!place_fill(client, bytes, (size_t)room))
            return true;
    }
    stream_again(&client->stream);
    return true;
}

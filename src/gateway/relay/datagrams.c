#include "gateway/relay/datagrams.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { MERGED_BYTES_MAX = 1200 };

_Static_assert(CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int)) <=
                   DATAGRAM_CONTROL_BYTES,
               "room for both");

struct datagrams *datagrams_new(void)
{
    struct datagrams *datagrams = calloc(1, sizeof *datagrams);
    if (!datagrams)
        return NULL;
    void *room = mmap(NULL, (size_t)DATAGRAMS_MAX * DATAGRAM_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) {
        free(datagrams);
        return NULL;
    }
    madvise(room, (size_t)DATAGRAMS_MAX * DATAGRAM_BYTES, MADV_NOHUGEPAGE);
    datagrams->room = room;
    return datagrams;
}

void datagrams_free(struct datagrams *datagrams)
{
    if (!datagrams)
        return;
    munmap(datagrams->room, (size_t)DATAGRAMS_MAX * DATAGRAM_BYTES);
    free(datagrams);
}

static bool bound_to_all(const union client_address *own)
{
    if (own->any.sa_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&own->v6.sin6_addr);
    return own->v4.sin_addr.s_addr == htonl(INADDR_ANY);
}

/* Options that an old kernel does not know are done without. */
void datagrams_prepare(int fd, bool listening)
{
    const int on = 1;
    union client_address own = {0};
    socklen_t length = sizeof own;
    setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
    if (!listening || getsockname(fd, &own.any, &length) < 0 || !bound_to_all(&own))
        return;
    if (own.any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
    else
        setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
}

/* ---- receiving ------------------------------------------------------------------------------ */

static void entry_expect(struct datagrams *datagrams, unsigned index, bool addressed)
{
    struct datagram *entry = &datagrams->entries[index];
    if (addressed)
        memset(&entry->peer, 0, sizeof entry->peer); /* compared as bytes */
    entry->bytes = datagrams->room + (size_t)index * DATAGRAM_BYTES;
    datagrams->parts[index] = (struct iovec){.iov_base = entry->bytes, .iov_len = DATAGRAM_BYTES};
    datagrams->headers[index] = (struct mmsghdr){
        .msg_hdr = {.msg_name = addressed ? &entry->peer : NULL,
                    .msg_namelen = addressed ? sizeof entry->peer : 0,
                    .msg_iov = &datagrams->parts[index],
                    .msg_iovlen = 1,
                    .msg_control = datagrams->control[index],
                    .msg_controllen = DATAGRAM_CONTROL_BYTES},
    };
}

static void asked_read(const struct cmsghdr *control, struct asked *ret_asked)
{
    if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo info;
        memcpy(&info, CMSG_DATA(control), sizeof info);
        ret_asked->family = AF_INET;
        ret_asked->four = info.ipi_spec_dst;
    }
    if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO) {
        struct in6_pktinfo info;
        memcpy(&info, CMSG_DATA(control), sizeof info);
        ret_asked->family = AF_INET6;
        ret_asked->six = info.ipi6_addr;
        if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
            ret_asked->interface = info.ipi6_ifindex;
    }
}

static void entry_received(struct datagrams *datagrams, unsigned index)
{
    struct datagram *entry = &datagrams->entries[index];
    struct msghdr *header = &datagrams->headers[index].msg_hdr;
    entry->length = datagrams->headers[index].msg_len;
    entry->segment = 0;
    memset(&entry->asked, 0, sizeof entry->asked); /* compared as bytes */
    for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control;
         control = CMSG_NXTHDR(header, control)) {
        asked_read(control, &entry->asked);
        if (control->cmsg_level == IPPROTO_UDP && control->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(control), sizeof size);
            if (size > 0 && (size_t)size < entry->length)
                entry->segment = (uint16_t)size;
        }
    }
}

int datagrams_receive(struct datagrams *datagrams, int fd, unsigned first, unsigned max,
                      bool addressed)
{
    for (unsigned i = first; i < first + max; i++)
        entry_expect(datagrams, i, addressed);
    int count = recvmmsg(fd, datagrams->headers + first, max, MSG_DONTWAIT, NULL);
    if (count < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    for (unsigned i = first; i < first + (unsigned)count; i++)
        entry_received(datagrams, i);
    return count;
}

/* ---- sending -------------------------------------------------------------------------------- */

static struct cmsghdr *control_add(struct msghdr *header, int level, int type, const void *value,
                                   size_t size)
{
    struct cmsghdr *control =
        (struct cmsghdr *)(void *)((char *)header->msg_control + header->msg_controllen);
    control->cmsg_level = level;
    control->cmsg_type = type;
    control->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(control), value, size);
    header->msg_controllen += CMSG_SPACE(size);
    return control;
}

static void asked_write(struct msghdr *header, const struct asked *asked)
{
    const struct in_pktinfo four = {.ipi_spec_dst = asked->four};
    const struct in6_pktinfo six = {.ipi6_addr = asked->six, .ipi6_ifindex = asked->interface};
    if (asked->family == AF_INET)
        control_add(header, IPPROTO_IP, IP_PKTINFO, &four, sizeof four);
    else if (asked->family == AF_INET6)
        control_add(header, IPPROTO_IPV6, IPV6_PKTINFO, &six, sizeof six);
}

/* Datagrams of one size that go the same way, the last may be shorter, go as one (GSO): how many of
 * those from `order` on. Larger ones might not fit what the way out carries. */
static unsigned run_length(const struct datagrams *datagrams, const uint8_t *order, unsigned count,
                           bool addressed)
{
    const struct datagram *first = &datagrams->entries[order[0]];
    unsigned length = 1;
    bool open = !first->segment && first->length && first->length <= MERGED_BYTES_MAX;
    while (open && length < count) {
        const struct datagram *next = &datagrams->entries[order[length]];
        if (next->segment || !next->length || next->length > first->length)
            break;
        if (addressed && (memcmp(&next->peer, &first->peer, sizeof next->peer) != 0 ||
                          memcmp(&next->asked, &first->asked, sizeof next->asked) != 0))
            break;
        open = next->length == first->length;
        length++;
    }
    return length;
}

/* The header at `place` of the batch that is sent, for entries that go together. */
static void header_fill(struct datagrams *datagrams, unsigned place, struct iovec *parts,
                        const uint8_t *order, unsigned count, bool addressed)
{
    struct datagram *entry = &datagrams->entries[order[0]];
    struct msghdr *header = &datagrams->headers[place].msg_hdr;
    uint16_t segment = count > 1 ? (uint16_t)entry->length : entry->segment;
    for (unsigned i = 0; i < count; i++) {
        const struct datagram *part = &datagrams->entries[order[i]];
        parts[i] = (struct iovec){.iov_base = part->bytes, .iov_len = part->length};
    }
    *header = (struct msghdr){
        .msg_iov = parts, .msg_iovlen = count, .msg_control = datagrams->control[place]};
    if (addressed) {
        header->msg_name = &entry->peer;
        header->msg_namelen =
            entry->peer.any.sa_family == AF_INET6 ? sizeof entry->peer.v6 : sizeof entry->peer.v4;
        asked_write(header, &entry->asked);
    }
    if (segment)
        control_add(header, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
    if (!header->msg_controllen)
        header->msg_control = NULL;
}

static void entry_send(struct datagrams *datagrams, int fd, unsigned place, uint8_t index,
                       bool addressed)
{
    struct iovec part;
    header_fill(datagrams, place, &part, &index, 1, addressed);
    sendmsg(fd, &datagrams->headers[place].msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* One by one, where the way out knows no GSO or its datagrams are too large for it. */
static void segments_send(struct datagrams *datagrams, int fd, unsigned place, uint8_t index,
                          bool addressed)
{
    struct datagram whole = datagrams->entries[index];
    struct datagram *one = &datagrams->entries[index];
    size_t segment = whole.segment ? whole.segment : whole.length;
    one->segment = 0;
    for (size_t at = 0; at < whole.length; at += segment) {
        one->bytes = whole.bytes + at;
        one->length = whole.length - at < segment ? whole.length - at : segment;
        entry_send(datagrams, fd, place, index, addressed);
    }
    *one = whole;
}

/* Is the datagram at fault, and not the socket? */
static bool datagram_bad(int error)
{
    return error == EMSGSIZE || error == EINVAL || error == EIO || error == EPERM ||
           error == ENETUNREACH || error == EHOSTUNREACH || error == EACCES;
}

/* As sendmmsg(2); a single one is cheaper by sendmsg(2), a plain one by send(2). */
static int headers_send(struct datagrams *datagrams, int fd, unsigned first, unsigned count)
{
    struct mmsghdr *headers = datagrams->headers + first;
    const struct msghdr *single = &headers->msg_hdr;
    if (count == 1 && !single->msg_name && !single->msg_control && single->msg_iovlen == 1)
        return send(fd, single->msg_iov->iov_base, single->msg_iov->iov_len,
                    MSG_DONTWAIT | MSG_NOSIGNAL) < 0
                   ? -1
                   : 1;
    if (count > 1)
        return sendmmsg(fd, headers, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sendmsg(fd, &headers->msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -1 : 1;
}

int datagrams_send(struct datagrams *datagrams, int fd, const uint8_t *order, unsigned count,
                   bool addressed, unsigned *ret_sent)
{
    unsigned starts[DATAGRAMS_MAX + 1] = {0}; /* of each header, in `order` */
    unsigned headers = 0;
    unsigned done = 0;
    for (unsigned at = 0; at < count; at = starts[headers]) {
        unsigned run = run_length(datagrams, order + at, count - at, addressed);
        header_fill(datagrams, headers, &datagrams->parts[at], order + at, run, addressed);
        starts[++headers] = at + run;
    }
    while (done < headers) {
        int sent = headers_send(datagrams, fd, done, headers - done);
        if (sent > 0) {
            done += (unsigned)sent;
            continue;
        }
        if (errno == EAGAIN || errno == ENOBUFS) /* the rest is dropped */
            break;
        if (!datagram_bad(errno)) {
            *ret_sent = starts[done];
            return -errno;
        }
        bool several = starts[done + 1] - starts[done] > 1;
        for (unsigned i = starts[done]; i < starts[done + 1]; i++)
            if (several || datagrams->entries[order[i]].segment)
                segments_send(datagrams, fd, done, order[i], addressed);
        done++;
    }
    *ret_sent = count;
    return 0;
}

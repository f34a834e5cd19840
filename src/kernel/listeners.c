#include "kernel/listeners.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <malloc.h>
#include <unistd.h>

/* The skeleton is generated code, which our warnings do not concern. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wshadow"
#include "listeners.skel.h"
#pragma GCC diagnostic pop

static int attach(const struct listeners_bpf *program, const char *path)
{
    struct bpf_link *link = bpf_program__attach(program->progs.listeners_recvmsg);
    if (!link)
        return -errno;
    int error = bpf_link__pin(link, path);
    bpf_link__destroy(link);
    return error;
}

int listeners_mend(const char *path)
{
    if (access(path, F_OK) == 0)
        return 0;
    struct listeners_bpf *program = listeners_bpf__open();
    int error = program ? listeners_bpf__load(program) : -errno;
    if (!error)
        error = attach(program, path);
    listeners_bpf__destroy(program);
    malloc_trim(0); /* libbpf had the whole kernel's type information in memory */
    return error;
}

#include "base/trim.h"

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef __SANITIZE_ADDRESS__ /* whose runtime lives in odd places */

/* Read-only parts alone: what is written to (relocated data too) is there only once. A page that
 * such a part shares with the next is left out. */
static int object_trim(struct dl_phdr_info *object, size_t size, void *context)
{
    (void)size, (void)context;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || part->p_flags & PF_W)
            continue;
        uintptr_t start = (object->dlpi_addr + part->p_vaddr + page - 1) & ~(page - 1);
        uintptr_t end = (object->dlpi_addr + part->p_vaddr + part->p_memsz) & ~(page - 1);
        if (start < end)
            madvise((void *)start, end - start, MADV_DONTNEED);
    }
    return 0;
}

void memory_trim(void)
{
    malloc_trim(0);
    dl_iterate_phdr(object_trim, NULL);
}

#else

void memory_trim(void)
{
}

#endif

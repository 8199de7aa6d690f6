/* A read of what is in the page cache already: it never waits for the disk. */
#ifndef EVENT_PROCESSOR_CACHED_READ_H
#define EVENT_PROCESSOR_CACHED_READ_H

#include <stdint.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif

/* Reads up to `size` bytes from `offset` on, and returns how many; -1 if they are not in the page cache, if they cannot be read, or if the system has no
 * such call. The call is made by its number: glibc before 2.26 and musl before 1.2.5 have no preadv2(), and would not load a library that names it. */
static inline int64_t read_cached(int64_t descriptor, uint8_t *content, int64_t size, int64_t offset) {
#ifdef SYS_preadv2
    const struct iovec place = {content, (size_t)size};
    return syscall(SYS_preadv2, (long)descriptor, &place, 1L, (long)offset, 0L, (long)RWF_NOWAIT);
#else
    (void)descriptor, (void)content, (void)size, (void)offset;
    return -1;
#endif
}

#endif

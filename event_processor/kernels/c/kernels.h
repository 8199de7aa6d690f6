/* What all kernels share: the types of columns, and how words lie in memory.
 *
 * Always: a kernel is a pure function of its arguments. It allocates nothing, keeps no state, and calls nothing that can fail
 * (except reads.c, segments.c and merge.c, which read). It writes only within the lengths that it was given, and reads only
 * within them, whatever the bytes. Each kernel has a counterpart, in numpy or in a Python library. The counterpart defines the
 * result, and replaces the kernel if there is no compiler. Tests compare the two.
 */
#ifndef EVENT_PROCESSOR_KERNELS_H
#define EVENT_PROCESSOR_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the kernels read words as they lie in memory, little-endian; without them the package uses numpy"
#endif

__extension__ typedef unsigned __int128 wide;

#define EXPORT __attribute__((visibility("default")))

static inline uint64_t word_at(const uint8_t *place) {
    uint64_t word;
    memcpy(&word, place, sizeof word);
    return word;
}

/* Whether `length` bytes are equal. Most are short: for these a call of memcmp costs more than the comparison. */
static inline int same_bytes(const uint8_t *one, const uint8_t *other, int64_t length) {
    if (length < 8) {
        for (; length > 0; length--)
            if (one[length - 1] != other[length - 1])
                return 0;
        return 1;
    }
    for (int64_t place = 0; place < length - 8; place += 8)
        if (word_at(one + place) != word_at(other + place))
            return 0;
    return word_at(one + length - 8) == word_at(other + length - 8);
}

#endif

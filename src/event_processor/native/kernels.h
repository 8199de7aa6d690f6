/* What all kernels share: the types of columns, and how words stand in memory.
 *
 * Always: a kernel is a pure function of its arguments. It allocates nothing, keeps nothing, calls nothing that can fail,
 * and writes only within the lengths that it was given; whatever bytes come in, it reads only within them.
 * Each has a twin in numpy, which says what it means and takes its place where there is no compiler; tests hold them together.
 */
#ifndef EVENT_PROCESSOR_KERNELS_H
#define EVENT_PROCESSOR_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the kernels read words as they stand in memory, little-endian; without them the package uses numpy"
#endif

#define EXPORT __attribute__((visibility("default")))

static inline uint64_t word_at(const uint8_t *place) {
    uint64_t word;
    memcpy(&word, place, sizeof word);
    return word;
}

#endif

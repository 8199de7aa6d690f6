/* Many small reads of one file: a thousand calls without a step of the interpreter between them.
 *
 * Always: an incomplete read, whatever the reason, is left to the caller. The caller reads again, and learns why.
 */
#define _GNU_SOURCE
#include "cached_read.h"
#include "kernels.h"

/* Reads piece i from offsets[i] of the file into begins[i] to begins[i + 1] of `content`, if it is in the page cache. `left`
 * gets the numbers of the pieces that were not read whole. Returns how many. */
EXPORT int64_t ep_read_at_once(
    int64_t descriptor, uint8_t *content, const int64_t *begins, const int64_t *offsets, int64_t count, int64_t *left) {
    int64_t left_count = 0;
    for (int64_t piece = 0; piece < count; piece++) {
        const int64_t size = begins[piece + 1] - begins[piece];
        if (read_cached(descriptor, content + begins[piece], size, offsets[piece]) != size)
            left[left_count++] = piece;
    }
    return left_count;
}

/* An open segment, in the form for searching and merging segments. */
#ifndef EVENT_PROCESSOR_SEGMENT_H
#define EVENT_PROCESSOR_SEGMENT_H

#include "fingerprint.h"

/* The filter, and for each block its first `hi` (`fences`) and its checksum. `piece_offsets`: for each section of
 * `section_blocks` blocks, how many bytes of filter come before its rows. */
struct segment {
    int64_t descriptor;
    const uint64_t *filter;
    int64_t filter_blocks;
    const uint64_t *fences, *checksums;
    const int64_t *piece_offsets;
    int64_t blocks, rows, block_rows, section_blocks, header_bytes;
};

/* The offset of block `number` in the file. */
static inline int64_t block_offset(const struct segment *segment, int64_t number) {
    return segment->header_bytes + number * segment->block_rows * ROW_BYTES + segment->piece_offsets[number / segment->section_blocks];
}

/* How many rows the `count` blocks from `number` on have; the very last block may be shorter. */
static inline int64_t block_rows_of(const struct segment *segment, int64_t number, int64_t count) {
    const int64_t left = segment->rows - number * segment->block_rows, rows = count * segment->block_rows;
    return left < rows ? left : rows;
}

#endif

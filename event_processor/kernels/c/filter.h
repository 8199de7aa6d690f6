/* The part of the filter that the search in segments uses. */
#ifndef EVENT_PROCESSOR_FILTER_H
#define EVENT_PROCESSOR_FILTER_H

#include "kernels.h"

EXPORT int64_t ep_filter_hits(const uint64_t *words, uint64_t blocks, const uint64_t *patterns, const uint64_t *hi, const uint64_t *lo,
                              int64_t n, int64_t *places);

#endif

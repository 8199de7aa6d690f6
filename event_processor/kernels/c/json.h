/* Skips JSON in UTF-8 within [place, end): each function returns what follows, or NULL if it does not accept the bytes.
 *
 * Always: skipped bytes are strictly valid JSON, as in RFC 8259. NULL decides nothing: it only means that another decoder has to
 * look. So it may be returned for anything unusual: an escape by number, a number with a long exponent.
 */
#ifndef EVENT_PROCESSOR_JSON_H
#define EVENT_PROCESSOR_JSON_H

#include "kernels.h"

#if defined(__SSE2__) && !defined(EP_PORTABLE)
#include <emmintrin.h>
#endif

/* The nesting limit of arrays and objects, as `event.NESTING_DEPTH_MAX`. */
#define DEPTH_MAX 100

const uint8_t *ep_skip_number(const uint8_t *place, const uint8_t *end);
const uint8_t *ep_skip_value(const uint8_t *place, const uint8_t *end, int depth);

static inline const uint8_t *skip_spaces(const uint8_t *place, const uint8_t *end) {
    while (place < end && (*place == ' ' || *place == '\t' || *place == '\r'))
        place++;
    return place;
}

/* The end of the text whose first byte is at `place`: its quote, or the first backslash or control character; `end` if there
 * is none. */
static inline const uint8_t *text_end(const uint8_t *place, const uint8_t *end) {
#if defined(__SSE2__) && !defined(EP_PORTABLE)
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1f);
    for (; end - place >= 16; place += 16) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)place);
        /* A byte is a control character if the lesser of it and 0x1f is the byte itself. */
        const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, control), bytes);
        const __m128i marks = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash));
        const int found = _mm_movemask_epi8(_mm_or_si128(marks, low));
        if (found)
            return place + __builtin_ctz((unsigned)found);
    }
#else
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    for (; end - place >= 8; place += 8) {
        const uint64_t word = word_at(place), quotes = word ^ (ones * '"'), backslashes = word ^ (ones * '\\');
        /* A byte is zero if subtracting one from it borrows. Above the first such byte the marks may be wrong, never below. */
        const uint64_t found = (((quotes - ones) & ~quotes) | ((backslashes - ones) & ~backslashes) | ((word - ones * 0x20) & ~word)) & highs;
        if (found)
            return place + (__builtin_ctzll(found) >> 3);
    }
#endif
    while (place < end && *place != '"' && *place != '\\' && *place >= 0x20)
        place++;
    return place;
}

static inline int is_digit(uint8_t byte) { return byte >= '0' && byte <= '9'; }

#endif

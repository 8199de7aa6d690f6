/* Lines with the same spelling as an earlier line, except for their values: the bytes between the values are compared, not
 * parsed.
 *
 * Always: a line that is read here would give the same fields in the walk: it differs from an earlier line only in its values,
 * and each value is valid and of the same kind. Any other line is left to the walk.
 */
#ifndef EVENT_PROCESSOR_SPELLING_H
#define EVENT_PROCESSOR_SPELLING_H

#include "line.h"

#define LITERAL_BYTES_MAX 64
#define SPELLINGS_MAX 4
/* After this number of misses, a new spelling is learnt only while most lines match a known one. */
#define LEARNT_ANYWAY 16

enum value_kind { VALUE_TEXT, VALUE_NUMBER, VALUE_OTHER };

/* A value and the bytes before it, including the opening quote of a text and the closing quote of the text before; then zeros. */
struct step {
    uint8_t literal[LITERAL_BYTES_MAX];
    int32_t length, kind, roles, depth;
};

/* `steps` values, and one more step, whose literal ends the line. */
struct spelling {
    int32_t steps;
    struct step step[VALUES_MAX + 1];
};

struct spellings {
    int32_t known, latest, next;
    int64_t hits, misses;
    struct spelling spelling[SPELLINGS_MAX];
};

/* Whether the literal is at `place`; LITERAL_BYTES_MAX bytes can be read from there. */
static inline int is_literal(const uint8_t *place, const struct step *step) {
#if defined(__SSE2__) && !defined(EP_PORTABLE)
    for (int32_t at = 0; at < step->length; at += 16) {
        const __m128i here = _mm_loadu_si128((const __m128i *)(place + at));
        const __m128i there = _mm_loadu_si128((const __m128i *)(step->literal + at));
        const int same = _mm_movemask_epi8(_mm_cmpeq_epi8(here, there)), left = step->length - at;
        const int wanted = left >= 16 ? 0xffff : (1 << left) - 1;
        if ((same & wanted) != wanted)
            return 0;
    }
    return 1;
#else
    return same_bytes(place, step->literal, step->length);
#endif
}

/* Takes the value of a step. Returns where the next literal begins; NULL if the value is not as expected. */
static inline const uint8_t *take_value(
    const struct step *step, const struct walk *walk, struct line *line, const uint8_t *place, const uint8_t *end) {
    const uint8_t *begin = place;
    switch (step->kind) {
    case VALUE_TEXT:
        place = text_end(place, walk->content_end); /* at the latest, it stops at the line feed after the line */
        if (step->roles)
            return take_text(line, step->roles, begin, place) ? place : NULL;
        if (place < end && *place == '\\') { /* it is not read, so it may hold an escape */
            place = ep_skip_value(begin - 1, end, step->depth);
            return place ? place - 1 : NULL;
        }
        return place;
    case VALUE_NUMBER:
        return step->roles ? take_number(walk, line, step->roles, place, end) : ep_skip_number(place, end);
    default:
        if (step->roles && place < end && (*place == '"' || *place == '-' || is_digit(*place)))
            return NULL;
        return ep_skip_value(place, end, step->depth);
    }
}

static inline int has_spelling(
    const struct spelling *spelling, const struct walk *walk, struct line *line, const uint8_t *place, const uint8_t *end) {
    const struct step *step = spelling->step, *last = step + spelling->steps;
    for (;; step++) {
        if (walk->content_end - place < LITERAL_BYTES_MAX || !is_literal(place, step))
            return 0;
        place += step->length;
        if (step == last)
            return place == end;
        if (!(place = take_value(step, walk, line, place, end)))
            return 0;
    }
}

/* Whether the line has a known spelling. If so, `line` gets its content, as the walk would give it. */
static inline int read_alike(
    struct spellings *spellings, const struct walk *walk, struct line *line, const uint8_t *begin, const uint8_t *end) {
    for (int32_t tried = 0, number = spellings->latest; tried < spellings->known; tried++) {
        line->id_kind = line->timestamp_kind = KIND_NONE;
        if (has_spelling(&spellings->spelling[number], walk, line, begin, end)) {
            spellings->latest = number;
            spellings->hits++;
            return 1;
        }
        number = number + 1 < spellings->known ? number + 1 : 0;
    }
    spellings->misses++;
    return 0;
}

/* Where value `number` begins for a step: after the quote of a text; after the last value, the end of the line. */
static inline const uint8_t *literal_end(const struct line *line, int32_t number, const uint8_t *end) {
    return number == line->value_count ? end : line->places[number].begin + (*line->places[number].begin == '"');
}

/* Where the literal before value `number` begins: at the closing quote of the text before, or after another value. */
static inline const uint8_t *literal_begin(const struct line *line, int32_t number, const uint8_t *begin) {
    return number == 0 ? begin : line->places[number - 1].end - (*line->places[number - 1].begin == '"');
}

/* Learns the spelling of the line that the walk has just read, unless it is too long. */
static inline void learn_spelling(
    struct spellings *spellings, const struct line *line, const uint8_t *begin, const uint8_t *end) {
    if (line->value_count > VALUES_MAX || spellings->misses > spellings->hits + LEARNT_ANYWAY)
        return;
    for (int32_t number = 0; number <= line->value_count; number++)
        if (literal_end(line, number, end) - literal_begin(line, number, begin) > LITERAL_BYTES_MAX)
            return;
    struct spelling *spelling = &spellings->spelling[spellings->next];
    for (int32_t number = 0; number <= line->value_count; number++) {
        struct step *step = &spelling->step[number];
        const uint8_t *from = literal_begin(line, number, begin);
        step->length = (int32_t)(literal_end(line, number, end) - from);
        memset(step->literal, 0, LITERAL_BYTES_MAX);
        memcpy(step->literal, from, (size_t)step->length);
        if (number == line->value_count)
            break;
        const struct value_place *value = &line->places[number];
        const int is_number = *value->begin == '-' || is_digit(*value->begin);
        step->kind = *value->begin == '"' ? VALUE_TEXT : is_number ? VALUE_NUMBER : VALUE_OTHER;
        step->roles = value->roles;
        step->depth = value->depth;
    }
    spelling->steps = line->value_count;
    spellings->latest = spellings->next;
    spellings->known = spellings->known > spellings->next ? spellings->known : spellings->next + 1;
    spellings->next = (spellings->next + 1) % SPELLINGS_MAX;
}

#endif

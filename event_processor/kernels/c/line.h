/* A line of JSON in the walk through it: the keys to the fields, the fields found so far, and the places of its values. */
#ifndef EVENT_PROCESSOR_LINE_H
#define EVENT_PROCESSOR_LINE_H

#include "decimal.h"
#include "json.h"

#define NODES_MAX 32
#define ID_BYTES_MAX 1024
#define CATEGORY_BYTES_MAX 256

/* A line with a field that is not for here is left to another decoder. */
enum role { ROLE_ID = 1, ROLE_CATEGORY = 2, ROLE_VALUE = 4, ROLE_TIMESTAMP = 8, ROLE_NOT_HERE = 16 };
enum kind { KIND_NONE = 0, KIND_TEXT = 1, KIND_NUMBER = 2 };
/* The first certain fault of a line that is no event: a role without a field, a text for the value, NaN for it; or a text that
 * does not end within the line, so that it is not JSON. */
enum fault {
    FAULT_UNKNOWN = 0,
    FAULT_NO_ID = 1,
    FAULT_NO_CATEGORY = 2,
    FAULT_NO_VALUE = 4,
    FAULT_TEXT_VALUE = 16,
    FAULT_NAN = 32,
    FAULT_OPEN_TEXT = 64
};

/* A key on the way to a field: `name` is `length` bytes, including its closing quote. `head` is its first eight bytes, and
 * `mask` selects the ones that count. `parent` is the key around it, or -1. `roles` are the roles of its value, 0 if it is an
 * object with further keys. */
struct node {
    uint64_t head, mask;
    const uint8_t *name;
    int64_t length;
    int32_t parent, roles;
};

#define VALUES_MAX 24

/* The place of a value that is no object on the way to a field; includes the quotes of a text. `roles` are 0 if it is not
 * read. `depth` arrays and objects are around it. */
struct value_place {
    const uint8_t *begin, *end;
    int32_t roles, depth;
};

struct line {
    uint32_t seen; /* one bit per node */
    int32_t value_count; /* of the places below; more than VALUES_MAX if there were more */
    int has_nan;   /* as the value: the rest of the line was not read */
    const uint8_t *open_text; /* the quote of a text or a key that does not end; everything before it is JSON */
    const uint8_t *value_text, *value_text_end;
    int id_kind, timestamp_kind;
    int64_t id_number;
    double value;
    const uint8_t *id_begin, *id_end, *category_begin, *category_end, *timestamp_begin, *timestamp_end;
    struct value_place places[VALUES_MAX]; /* not cleared */
};

struct walk {
    const struct node *nodes;
    int32_t node_count, wanted; /* `wanted`: the roles that an event must have */
    const uint64_t *powers;
    const uint8_t *content_end;
};

/* Takes the text from `begin` to `quote` for these roles. Returns whether it is valid for them. */
static inline int take_text(struct line *line, int roles, const uint8_t *begin, const uint8_t *quote) {
    if (roles & ROLE_VALUE) {
        if (roles != ROLE_VALUE)
            return 0;
        line->value_text = begin;
        line->value_text_end = quote;
    }
    if (roles & ROLE_ID) {
        line->id_kind = KIND_TEXT;
        line->id_begin = begin;
        line->id_end = quote;
        if (quote == begin || quote - begin > ID_BYTES_MAX)
            return 0;
    }
    if (roles & ROLE_CATEGORY) {
        line->category_begin = begin;
        line->category_end = quote;
        if (quote == begin || quote - begin > CATEGORY_BYTES_MAX)
            return 0;
    }
    if (roles & ROLE_TIMESTAMP) {
        line->timestamp_kind = KIND_TEXT;
        line->timestamp_begin = begin;
        line->timestamp_end = quote;
    }
    return 1;
}

/* Reads the number at `place` for these roles. Returns what follows, or NULL if the number is left to another decoder. */
static inline const uint8_t *take_number(
    const struct walk *walk, struct line *line, int roles, const uint8_t *place, const uint8_t *end) {
    int64_t whole = 0;
    int integer = 0;
    double value = 0.0;
    const uint8_t *behind = NULL;
    if (walk->content_end - place >= PLAIN_BYTES)
        behind = read_plain_decimal(place, &value, &whole, &integer);
    if (!behind)
        behind = read_decimal(place, end, walk->powers, &value, &whole, &integer);
    if (!behind || (roles & ROLE_CATEGORY) || ((roles & ROLE_ID) && !integer))
        return NULL;
    if (roles & ROLE_VALUE)
        line->value = value;
    if (roles & ROLE_ID) {
        line->id_kind = KIND_NUMBER;
        line->id_number = whole;
    }
    if (roles & ROLE_TIMESTAMP) {
        line->timestamp_kind = KIND_NUMBER;
        line->timestamp_begin = place;
        line->timestamp_end = behind;
    }
    return behind;
}

#endif

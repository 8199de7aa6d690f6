/* Skips JSON values that are not read. They must still be JSON: a record that is not JSON is rejected. */
#include "json.h"

/* Skips a text with plain escapes, from after its opening quote to after the closing one. An escape by number is left to
 * another decoder: it may be half a character. */
static const uint8_t *skip_text(const uint8_t *place, const uint8_t *end) {
    for (;;) {
        place = text_end(place, end);
        if (place >= end || *place < 0x20)
            return NULL;
        if (*place == '"')
            return place + 1;
        if (end - place < 2 || place[1] == 0 || !strchr("\"\\/bfnrt", place[1]))
            return NULL;
        place += 2;
    }
}

/* Skips a number. One with an exponent of three digits, or of a hundred characters, is left to another decoder: it may be
 * infinite. */
const uint8_t *ep_skip_number(const uint8_t *place, const uint8_t *end) {
    const uint8_t *begin = place;
    if (place < end && *place == '-')
        place++;
    if (place >= end || !is_digit(*place))
        return NULL;
    if (*place == '0')
        place++;
    else
        while (place < end && is_digit(*place))
            place++;
    if (place < end && *place == '.') {
        const uint8_t *point = place++;
        while (place < end && is_digit(*place))
            place++;
        if (place == point + 1)
            return NULL;
    }
    if (place < end && (*place == 'e' || *place == 'E')) {
        place++;
        if (place < end && (*place == '+' || *place == '-'))
            place++;
        const uint8_t *digits = place;
        while (place < end && is_digit(*place))
            place++;
        if (place == digits || place - digits > 2)
            return NULL;
    }
    return place - begin > 100 ? NULL : place;
}

static const uint8_t *skip_word(const uint8_t *place, const uint8_t *end, const char *word, ptrdiff_t length) {
    return end - place >= length && memcmp(place, word, (size_t)length) == 0 ? place + length : NULL;
}

/* A value that holds no other value. */
static const uint8_t *skip_scalar(const uint8_t *place, const uint8_t *end) {
    switch (*place) {
    case '"':
        return skip_text(place + 1, end);
    case 't':
        return skip_word(place, end, "true", 4);
    case 'f':
        return skip_word(place, end, "false", 5);
    case 'n':
        return skip_word(place, end, "null", 4);
    default:
        return ep_skip_number(place, end);
    }
}

/* Skips a key and its colon, up to its value. */
static const uint8_t *skip_key(const uint8_t *place, const uint8_t *end) {
    place = skip_spaces(place, end);
    if (place >= end || *place != '"' || !(place = skip_text(place + 1, end)))
        return NULL;
    place = skip_spaces(place, end);
    return place < end && *place == ':' ? skip_spaces(place + 1, end) : NULL;
}

/* Skips any value inside `depth` arrays and objects. Not recursive: the input does not decide how deep the stack grows. */
const uint8_t *ep_skip_value(const uint8_t *place, const uint8_t *end, int depth) {
    uint8_t closing[DEPTH_MAX];
    const int outermost = depth;
    for (;;) {
        if (place >= end)
            return NULL;
        if (*place == '{' || *place == '[') {
            if (depth >= DEPTH_MAX)
                return NULL;
            closing[depth - outermost] = *place == '{' ? '}' : ']';
            place = skip_spaces(place + 1, end);
            if (place >= end)
                return NULL;
            if (*place != closing[depth++ - outermost]) {
                if (closing[depth - 1 - outermost] == '}' && !(place = skip_key(place, end)))
                    return NULL;
                continue;
            }
            place++;
            depth--;
        } else if (!(place = skip_scalar(place, end))) {
            return NULL;
        }
        /* After a value: close everything that ends here, or go on to the next value. */
        for (; depth > outermost; place++, depth--) {
            place = skip_spaces(place, end);
            if (place >= end)
                return NULL;
            if (*place != closing[depth - 1 - outermost])
                break;
        }
        if (depth == outermost)
            return place;
        if (*place++ != ',')
            return NULL;
        place = skip_spaces(place, end);
        if (closing[depth - 1 - outermost] == '}' && !(place = skip_key(place, end)))
            return NULL;
    }
}

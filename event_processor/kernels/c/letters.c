/* Dead letters as lines of JSON: their facts by column, and the record as a text.
 *
 * Always: writes the same bytes as the library that writes letters one by one (`engine/dead_letters.py`). A record that is not
 * UTF-8 is left to that.
 */
#include "json.h"

/* The place after one character of several bytes, as in RFC 3629; NULL if there is none. */
static const uint8_t *behind_character(const uint8_t *place, const uint8_t *end) {
    const uint8_t first = *place;
    const int length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (!length || end - place < length)
        return NULL;
    /* Excludes overlong forms, surrogates, and code points beyond the last one. */
    const uint8_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80, most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (place[1] < least || place[1] > most)
        return NULL;
    for (int byte = 2; byte < length; byte++)
        if (place[byte] >> 6 != 2)
            return NULL;
    return place + length;
}

static int is_utf8(const uint8_t *place, const uint8_t *end) {
    while (place < end) {
        for (; end - place >= 8 && !(word_at(place) & 0x8080808080808080u); place += 8) continue;
        if (place == end)
            return 1;
        if (*place < 0x80)
            place++;
        else if (!(place = behind_character(place, end)))
            return 0;
    }
    return 1;
}

static uint8_t *put_bytes(uint8_t *out, const uint8_t *bytes, int64_t size) {
    memcpy(out, bytes, (size_t)size);
    return out + size;
}

/* Writes a number that is not below 0. */
static uint8_t *put_number(uint8_t *out, int64_t number) {
    uint8_t digits[20];
    int first = 20;
    do
        digits[--first] = (uint8_t)('0' + number % 10);
    while (number /= 10);
    return put_bytes(out, digits + first, 20 - first);
}

/* Writes the escape of a quote, a backslash or a control character. */
static uint8_t *put_escape(uint8_t *out, uint8_t byte) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt", digits[] = "0123456789abcdef";
    const char *found = byte ? strchr(from, byte) : NULL;
    *out++ = '\\';
    if (found) {
        *out++ = (uint8_t)to[found - from];
        return out;
    }
    out = put_bytes(out, (const uint8_t *)"u00", 3);
    *out++ = (uint8_t)digits[byte >> 4];
    *out++ = (uint8_t)digits[byte & 15];
    return out;
}

static uint8_t *put_text(uint8_t *out, const uint8_t *place, const uint8_t *end) {
    for (;;) {
        const uint8_t *special = text_end(place, end);
        out = put_bytes(out, place, special - place);
        if (special >= end)
            return out;
        out = put_escape(out, *special);
        place = special + 1;
    }
}

/* Writes `count` letters: piece 0, the line's number, piece 1, the offset, piece 2 + numbers[i], the record, and the end of
 * the letter. The pieces are consecutive and end at `piece_ends`. `out` has room for each letter with its pieces, two numbers
 * of 20 digits, 6 bytes per byte of the record, and 3 more. Returns how many bytes were written, or -1 if a record is not
 * UTF-8. */
EXPORT int64_t ep_write_letters(
    const uint8_t *content, const int64_t *begins, const int64_t *ends, const int64_t *lines, const int64_t *offsets,
    const int64_t *numbers, int64_t count, const uint8_t *pieces, const int64_t *piece_ends, uint8_t *out) {
    const uint8_t *start = out;
    for (int64_t letter = 0; letter < count; letter++) {
        const uint8_t *place = content + begins[letter], *end = content + ends[letter];
        if (!is_utf8(place, end))
            return -1;
        const int64_t piece = 2 + numbers[letter];
        out = put_bytes(out, pieces, piece_ends[0]);
        out = put_number(out, lines[letter]);
        out = put_bytes(out, pieces + piece_ends[0], piece_ends[1] - piece_ends[0]);
        out = put_number(out, offsets[letter]);
        out = put_bytes(out, pieces + piece_ends[piece - 1], piece_ends[piece] - piece_ends[piece - 1]);
        out = put_text(out, place, end);
        out = put_bytes(out, (const uint8_t *)"\"}\n", 3);
    }
    return out - start;
}

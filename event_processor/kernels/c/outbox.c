/* The lines of an outbox: written from records and places, and read back, with the running hash over them (the chain).
 *
 * A line is `{"sequence":N,"place":P,"@now":"T","@elapsed_ms":E,"chain":"C","object":O}`. C is XXH3-128 in hexadecimal digits of the
 * chain before, N, P and O, with a line feed between them.
 * Always: what is read is of this form to the byte, and follows from the record before it. The first line that does not is left to
 * the library that reads any JSON.
 */
#include "xxh3.h"

#define CHAIN_BYTES 32
#define DIGITS_MAX 18
#define LITERAL(text) (const uint8_t *)(text), (int64_t)(sizeof(text) - 1)

/* Flags of a record: its place begins otherwise than the one before, and its clock fields are others. */
#define NEW_PLACE 1
#define NEW_CLOCK 2

struct text {
    const uint8_t *at, *end;
};

static uint8_t *put(uint8_t *out, const uint8_t *bytes, int64_t size) {
    memcpy(out, bytes, (size_t)size);
    return out + size;
}

/* Writes a number that is not below 0. */
static uint8_t *put_count(uint8_t *out, int64_t number) {
    uint8_t digits[20];
    int first = 20;
    do
        digits[--first] = (uint8_t)('0' + number % 10);
    while (number /= 10);
    return put(out, digits + first, 20 - first);
}

static void put_hash(uint8_t *out, struct hash hash) {
    static const char digits[] = "0123456789abcdef";
    const uint64_t words[2] = {hash.high, hash.low};
    for (int word = 0; word < 2; word++)
        for (int shift = 60; shift >= 0; shift -= 4)
            *out++ = (uint8_t)digits[words[word] >> shift & 15];
}

/* The chain of a record after `chain`. `scratch` has room for all parts. Returns 0 if they are too short for this hash. */
static int chain_after(const uint8_t *chain, int64_t chain_size, int64_t sequence, struct text place, struct text object,
                       uint8_t *scratch, uint8_t *after) {
    uint8_t *out = put(scratch, chain, chain_size);
    *out++ = '\n';
    out = put_count(out, sequence);
    *out++ = '\n';
    out = put(out, place.at, place.end - place.at);
    *out++ = '\n';
    out = put(out, object.at, object.end - object.at);
    if (out - scratch < XXH3_WIDTH_MIN)
        return 0;
    put_hash(after, xxh3_128(scratch, (uint64_t)(out - scratch)));
    return 1;
}

static int is_space(uint8_t byte) { return byte == ' ' || byte == '\t' || byte == '\r'; }

/* Writes the lines of records, from `state` on, as far as `room` bytes suffice.
 *
 * `content` has a record in each line; `places` are consecutive and end at `place_ends`, `count` of them. `chain`: of the record before
 * `sequence`, `chain_size` bytes; CHAIN_BYTES of the last one written afterwards. `clock`: what is between the place and the chain. `state`:
 * the offset in `content` and the number of the next record; afterwards of the record after the last one written. `scratch` has room
 * for the longest record with its place, and 64 bytes more. Returns how many bytes were written; -1 if there are fewer lines than
 * places, or a record is too short: then nothing that was written means anything. */
EXPORT int64_t ep_outbox_write(const uint8_t *content, int64_t size, const uint8_t *places, const int64_t *place_ends, int64_t count,
                               int64_t sequence, uint8_t *chain, int64_t chain_size, const uint8_t *clock, int64_t clock_size,
                               int64_t *state, uint8_t *scratch, uint8_t *lines, int64_t room) {
    uint8_t *out = lines;
    for (; state[1] < count; state[1]++, sequence++) {
        const uint8_t *begin = content + state[0], *feed = memchr(begin, '\n', (size_t)(size - state[0]));
        if (!feed)
            return -1;
        struct text object = {begin, feed};
        while (object.at < object.end && is_space(*object.at))
            object.at++;
        while (object.at < object.end && is_space(object.end[-1]))
            object.end--;
        const struct text place = {places + (state[1] ? place_ends[state[1] - 1] : 0), places + place_ends[state[1]]};
        if (lines + room - out < (object.end - object.at) + (place.end - place.at) + clock_size + CHAIN_BYTES + 64)
            break;
        if (!chain_after(chain, chain_size, sequence, place, object, scratch, chain))
            return -1;
        chain_size = CHAIN_BYTES;
        out = put(out, LITERAL("{\"sequence\":"));
        out = put_count(out, sequence);
        out = put(out, LITERAL(",\"place\":"));
        out = put(out, place.at, place.end - place.at);
        out = put(out, clock, clock_size);
        out = put(out, chain, CHAIN_BYTES);
        out = put(out, LITERAL("\",\"object\":"));
        out = put(out, object.at, object.end - object.at);
        out = put(out, LITERAL("}\n"));
        state[0] = feed + 1 - content;
    }
    return out - lines;
}

static int take(struct text *text, const uint8_t *literal, int64_t size) {
    if (text->end - text->at < size || !same_bytes(text->at, literal, size))
        return 0;
    text->at += size;
    return 1;
}

/* A number as we write it: digits, without a needless 0 in front. -1 if there is none. */
static int64_t take_count(struct text *text) {
    const uint8_t *begin = text->at;
    int64_t number = 0;
    for (; text->at < text->end && *text->at >= '0' && *text->at <= '9' && text->at - begin < DIGITS_MAX; text->at++)
        number = 10 * number + (*text->at - '0');
    return text->at == begin || (*begin == '0' && text->at - begin > 1) ? -1 : number;
}

/* Passes a string's rest, with its closing quote. */
static int take_string(struct text *text) {
    for (; text->at < text->end; text->at++) {
        if (*text->at == '"')
            return text->at++, 1;
        if (*text->at == '\\' && ++text->at == text->end)
            return 0;
    }
    return 0;
}

/* What the records of one call have in common: the last beginning of a place, and the last clock fields. */
struct common {
    struct text head, clock;
};

/* Passes the place of an event up to its offset's digits. Returns 0 if it is another kind of place. */
static int take_head(struct text *text, struct common *common, uint8_t *flags) {
    const struct text head = common->head;
    if (head.at && take(text, head.at, head.end - head.at))
        return 1;
    const uint8_t *begin = text->at;
    if (!take(text, LITERAL("{\"source\":\"")) || !take_string(text) || !take(text, LITERAL(",\"generation\":")) ||
        take_count(text) < 0 || !take(text, LITERAL(",\"offset\":")))
        return 0;
    common->head = (struct text){begin, text->at};
    *flags |= NEW_PLACE;
    return 1;
}

/* Passes a place. `numbers`: its offset and its line; -1 if it is not that of an event. */
static int take_place(struct text *text, struct common *common, int64_t numbers[2], uint8_t *flags) {
    const uint8_t *begin = text->at;
    if (take_head(text, common, flags) && (numbers[0] = take_count(text)) >= 0 && take(text, LITERAL(",\"line\":")) &&
        (numbers[1] = take_count(text)) >= 0 && take(text, LITERAL("}")))
        return 1;
    /* Within a string of the place, these quotes would be escaped. If a name of it is the same, the chain does not fit. */
    static const char after[] = "},\"@now\":\"";
    numbers[0] = numbers[1] = -1;
    *flags |= NEW_PLACE;
    common->head.at = NULL;
    for (text->at = begin; text->end - text->at > (int64_t)sizeof after; text->at++)
        if (*text->at == '}' && !memcmp(text->at, after, sizeof after - 1))
            return text->at++, 1;
    return 0;
}

static int is_of_number(uint8_t byte) {
    return (byte >= '0' && byte <= '9') || byte == '.' || byte == '-' || byte == '+' || byte == 'e' || byte == 'E';
}

/* Passes the clock fields, up to the chain. */
static int take_clock(struct text *text, struct common *common, uint8_t *flags) {
    const struct text clock = common->clock;
    if (clock.at && take(text, clock.at, clock.end - clock.at))
        return 1;
    const uint8_t *begin = text->at;
    if (!take(text, LITERAL(",\"@now\":\"")) || !take_string(text) || !take(text, LITERAL(",\"@elapsed_ms\":")))
        return 0;
    while (text->at < text->end && is_of_number(*text->at))
        text->at++;
    if (!take(text, LITERAL(",\"chain\":\"")))
        return 0;
    common->clock = (struct text){begin, text->at};
    *flags |= NEW_CLOCK;
    return 1;
}

/* Reads the lines of the records from `sequence` on, at most `count` of them.
 *
 * `chain`: of the record before, `chain_size` bytes; CHAIN_BYTES of the last one that was read afterwards. Of each record: `ends` is the
 * offset after its line, `objects` has its object and a line feed, up to `object_ends`; `offsets` and `lines` are those of its place, or
 * -1; `flags` say what it does not have in common with the one before. `scratch` has room for `size` and 64 bytes more, `objects` for
 * `size`. Returns how many lines, from the first on, are of the form and follow from the one before. */
EXPORT int64_t ep_outbox_read(const uint8_t *content, int64_t size, int64_t sequence, int64_t count, uint8_t *chain, int64_t chain_size,
                              int64_t *ends, uint8_t *objects, int64_t *object_ends, int64_t *offsets, int64_t *lines, uint8_t *flags,
                              uint8_t *scratch) {
    struct common common = {{NULL, NULL}, {NULL, NULL}};
    const uint8_t *at = content, *end = content + size;
    uint8_t *out = objects, after[CHAIN_BYTES];
    int64_t record = 0;
    for (; record < count && at < end; record++, sequence++) {
        const uint8_t *feed = memchr(at, '\n', (size_t)(end - at));
        if (!feed)
            break;
        struct text line = {at, feed};
        int64_t numbers[2];
        flags[record] = record ? 0 : NEW_PLACE | NEW_CLOCK;
        if (!take(&line, LITERAL("{\"sequence\":")) || take_count(&line) != sequence || !take(&line, LITERAL(",\"place\":")))
            break;
        struct text place = {line.at, NULL};
        if (!take_place(&line, &common, numbers, flags + record))
            break;
        place.end = line.at;
        if (!take_clock(&line, &common, flags + record) || line.end - line.at < CHAIN_BYTES)
            break;
        const uint8_t *written = line.at;
        line.at += CHAIN_BYTES;
        if (!take(&line, LITERAL("\",\"object\":")) || line.end - line.at < 2 || line.end[-1] != '}')
            break;
        const struct text object = {line.at, line.end - 1};
        if (!chain_after(chain, chain_size, sequence, place, object, scratch, after) || memcmp(after, written, CHAIN_BYTES))
            break;
        memcpy(chain, after, CHAIN_BYTES);
        chain_size = CHAIN_BYTES;
        out = put(out, object.at, object.end - object.at);
        *out++ = '\n';
        at = feed + 1;
        ends[record] = at - content, object_ends[record] = out - objects;
        offsets[record] = numbers[0], lines[record] = numbers[1];
    }
    return record;
}

/* Lines of JSON -> columns of the fields of events, in one pass through the bytes.
 *
 * Always: a line that is read here is an event, with the fields that the judge alone would give it. A line that is not read is
 * left to another decoder, and nothing is said about it. The place and the order of fields do not matter; a field that comes
 * twice is left to another decoder.
 */
#include "spelling.h"

/* A text that was seen as a category: `length` bytes from `begin` on. `head` and `tail` are its first sixteen bytes, zeros
 * after its end. `code` is its code in this chunk, -1 if no event has it yet. 32 bytes: half a cache line. */
struct entry {
    uint64_t head, tail;
    int64_t begin;
    int32_t length, code;
};

/* The texts seen as categories, in this chunk and before. Entry i describes text i; the entry after the last says where the
 * `bytes` of the next text begin. `slots` (a power of two, `slot_mask` + 1 of them) hold the index of a text plus one, 0 for
 * none. `used[code]` is the index of the text with that code. */
struct categories {
    uint8_t *bytes;
    struct entry *entries;
    int32_t *slots;
    int64_t slot_mask;
    int32_t *used;
    int64_t known, known_max, used_count;
};

/* The columns, each with room for all lines; `count` entries of each are written. A column that is not read is NULL. */
struct events {
    int64_t *rows, *id_begins, *id_ends, *id_numbers, *codes;
    double *values;
    int64_t *timestamp_begins, *timestamp_ends;
    /* Begin and end are the place of a text for the value; or 0, and the number of characters before an open text. */
    int64_t *fault_rows, *faults, *fault_begins, *fault_ends;
    int64_t id_kind, timestamp_kind, count, fault_count;
};

/* Writes the starts and ends of the records of `content` from `begin` on, without their line feed and a return before it.
 * Returns how many there are, or -1 if there are more than `room`. */
EXPORT int64_t ep_cut_lines(
    const uint8_t *content, int64_t size, int64_t begin, int64_t *starts, int64_t *ends, int64_t room) {
    int64_t count = 0;
    while (begin < size) {
        const uint8_t *feed = memchr(content + begin, '\n', (size_t)(size - begin));
        int64_t end = feed ? feed - content : size;
        if (count == room)
            return -1;
        starts[count] = begin;
        begin = end + 1;
        ends[count] = end - (end > starts[count] && content[end - 1] == '\r');
        count++;
    }
    return count;
}

/* The node below `parent` whose name begins at `place`, or -1. `guess` is tried first. */
static int node_at(const struct walk *walk, int parent, int guess, const uint8_t *place, const uint8_t *end) {
    const int whole = walk->content_end - place >= 8;
    uint64_t head = 0;
    if (whole)
        head = word_at(place);
    else
        memcpy(&head, place, (size_t)(walk->content_end - place));
    for (int tried = 0; tried < walk->node_count; tried++) {
        const int number = guess + tried < walk->node_count ? guess + tried : guess + tried - walk->node_count;
        const struct node *node = &walk->nodes[number];
        if (((head ^ node->head) & node->mask) || node->parent != parent || end - place < node->length)
            continue;
        if (node->length <= 8 || same_bytes(place, node->name, node->length))
            return number;
    }
    return -1;
}

/* Whether a text goes on to the end, from after its opening quote, with only plain escapes. */
static int is_open_text(const uint8_t *place, const uint8_t *end) {
    while ((place = text_end(place, end)) < end) {
        if (*place != '\\' || end - place < 2 || place[1] == 0 || !strchr("\"\\/bfnrt", place[1]))
            return 0;
        place += 2;
    }
    return 1;
}

/* Counts the characters of UTF-8. */
static int64_t characters_between(const uint8_t *place, const uint8_t *end) {
    int64_t count = 0;
    for (; place < end; place++) count += (*place & 0xc0) != 0x80;
    return count;
}

/* Reads the value of the field at a node. A timestamp that is not wanted may be anything; a value that is no text and no
 * number is none. */
static const uint8_t *read_field(
    const struct walk *walk, struct line *line, int roles, int depth, const uint8_t *place, const uint8_t *end) {
    if (place >= end || (roles & ROLE_NOT_HERE))
        return NULL;
    if (*place == '"') {
        const uint8_t *quote = text_end(place + 1, end);
        return quote < end && *quote == '"' && take_text(line, roles, place + 1, quote) ? quote + 1 : NULL;
    }
    if (*place == '-' || is_digit(*place))
        return take_number(walk, line, roles, place, end);
    line->has_nan = (roles & ROLE_VALUE) && end - place >= 3 && memcmp(place, "NaN", 3) == 0;
    return roles == ROLE_TIMESTAMP && !(walk->wanted & ROLE_TIMESTAMP) ? ep_skip_value(place, end, depth) : NULL;
}

/* Reads the members of an object, from after its brace to after the closing one; `node` is the key to it, -1 for the line
 * itself. The recursion is as deep as the names of the fields. */
static const uint8_t *walk_object(
    const struct walk *walk, struct line *line, int node, int depth, const uint8_t *place, const uint8_t *end) {
    place = skip_spaces(place, end);
    if (place < end && *place == '}')
        return place + 1;
    for (int guess = 0;;) {
        if (place >= end || *place++ != '"')
            return NULL;
        const int found = node_at(walk, node, guess, place, end);
        if (found >= 0) {
            if (line->seen >> found & 1)
                return NULL;
            line->seen |= 1u << found;
            place += walk->nodes[found].length;
            guess = found + 1 < walk->node_count ? found + 1 : 0;
        } else {
            const uint8_t *quote = place - 1;
            place = text_end(place, end);
            if (place >= end)
                line->open_text = quote;
            if (place >= end || *place++ != '"') /* an escape: the key might be the name of a field */
                return NULL;
        }
        place = skip_spaces(place, end);
        if (place >= end || *place++ != ':')
            return NULL;
        place = skip_spaces(place, end);
        if (found >= 0 && !walk->nodes[found].roles) {
            place = place < end && *place == '{' ? walk_object(walk, line, found, depth + 1, place + 1, end) : NULL;
        } else {
            const int32_t roles = found < 0 ? 0 : walk->nodes[found].roles;
            const uint8_t *begin = place;
            place = roles ? read_field(walk, line, roles, depth, place, end) : ep_skip_value(place, end, depth);
            if (!place && begin < end && *begin == '"' && is_open_text(begin + 1, end))
                line->open_text = begin;
            if (line->value_count < VALUES_MAX)
                line->places[line->value_count] = (struct value_place){begin, place, roles, depth};
            line->value_count++;
        }
        if (!place)
            return NULL;
        place = skip_spaces(place, end);
        if (place >= end)
            return NULL;
        if (*place == '}')
            return place + 1;
        if (*place++ != ',')
            return NULL;
        place = skip_spaces(place, end);
    }
}

/* Whether the line begins as an object, holds no NUL, and no more brackets than may nest: then its first fault lies before the
 * bytes that were not read. */
static int is_shallow(const uint8_t *place, const uint8_t *end) {
    int brackets = 0;
    if (memchr(place, 0, (size_t)(end - place)))
        return 0;
    for (; place < end; place++)
        brackets += *place == '{' || *place == '[';
    return brackets <= DEPTH_MAX;
}

/* The fault of a line of JSON: the first role, in the order of the judge, that is missing or invalid. */
static enum fault fault_of(const struct walk *walk, const struct line *line, int32_t found) {
    const int32_t missing = walk->wanted & ~found;
    for (int32_t role = ROLE_ID; role <= ROLE_VALUE; role <<= 1)
        if (missing & role)
            return (enum fault)role;
    return line->value_text ? FAULT_TEXT_VALUE : FAULT_UNKNOWN;
}

/* Whether the line is an event. `line` gets its content; `fault` gets its fault, if that is certain. */
static int read_line(
    const struct walk *walk, struct line *line, enum fault *fault, const uint8_t *place, const uint8_t *end) {
    memset(line, 0, offsetof(struct line, places));
    *fault = FAULT_UNKNOWN;
    const uint8_t *begin = place = skip_spaces(place, end);
    if (place >= end || *place != '{')
        return 0;
    if (!(place = walk_object(walk, line, -1, 1, place + 1, end))) {
        if ((line->has_nan || line->open_text) && is_shallow(begin, end))
            *fault = line->has_nan ? FAULT_NAN : FAULT_OPEN_TEXT;
        return 0;
    }
    if (skip_spaces(place, end) != end)
        return 0;
    int32_t found = 0;
    for (int node = 0; node < walk->node_count; node++)
        if (line->seen >> node & 1)
            found |= walk->nodes[node].roles;
    if ((found & walk->wanted) == walk->wanted && !line->value_text)
        return 1;
    *fault = fault_of(walk, line, found);
    return 0;
}

/* A text to look up: its first sixteen bytes, zeros after its end, and its length. */
struct text {
    const uint8_t *begin;
    uint64_t head, tail;
    int32_t length;
};

static struct text text_of(const uint8_t *begin, const uint8_t *end, const uint8_t *content_end) {
    struct text text = {begin, 0, 0, (int32_t)(end - begin)};
    if (content_end - begin < 16) {
        uint8_t first[16] = {0};
        memcpy(first, begin, (size_t)text.length);
        text.head = word_at(first);
        text.tail = word_at(first + 8);
        return text;
    }
    const int in_head = text.length < 8 ? text.length : 8, in_tail = text.length < 8 ? 0 : text.length < 16 ? text.length - 8 : 8;
    /* A shift by all 64 bits is undefined. */
    text.head = word_at(begin) & (in_head == 8 ? ~0ull : (1ull << 8 * in_head) - 1);
    text.tail = word_at(begin + 8) & (in_tail == 8 ? ~0ull : (1ull << 8 * in_tail) - 1);
    return text;
}

static uint64_t text_hash(const struct text *text) {
    uint64_t hash = (text->head ^ (uint64_t)text->length) * 0x9e3779b97f4a7c15u;
    hash = (hash ^ (hash >> 29) ^ text->tail) * 0x9fb21c651e98df25u;
    const uint8_t *place = text->begin + 16, *end = text->begin + text->length;
    for (; end - place >= 8; place += 8)
        hash = ((hash ^ word_at(place)) * 0xc2b2ae3d27d4eb4fu) ^ (hash >> 29);
    for (; place < end; place++)
        hash = (hash ^ *place) * 0xc2b2ae3d27d4eb4fu;
    return hash ^ (hash >> 32);
}

/* Whether the entry has this text. */
static int is_text(const struct categories *categories, const struct entry *entry, const struct text *text) {
    if (entry->length != text->length || entry->head != text->head || entry->tail != text->tail)
        return 0;
    return text->length <= 16 || same_bytes(categories->bytes + entry->begin + 16, text->begin + 16, text->length - 16);
}

/* The code of a category in this chunk; -1 if it is unknown and the table is full. There is room for its bytes: the caller
 * made it. */
static int64_t category_code(struct categories *categories, const struct text *text, int64_t slot) {
    struct entry *entry;
    for (;; slot = (slot + 1) & categories->slot_mask) {
        const int32_t number = categories->slots[slot] - 1;
        entry = &categories->entries[number < 0 ? categories->known : number];
        if (number < 0) {
            if (categories->known == categories->known_max)
                return -1;
            categories->slots[slot] = (int32_t)++categories->known;
            memcpy(categories->bytes + entry->begin, text->begin, (size_t)text->length);
            entry[1].begin = entry->begin + text->length;
            *entry = (struct entry){text->head, text->tail, entry->begin, text->length, -1};
            break;
        }
        if (is_text(categories, entry, text))
            break;
    }
    if (entry->code < 0) {
        entry->code = (int32_t)categories->used_count;
        categories->used[categories->used_count++] = (int32_t)(entry - categories->entries);
    }
    return entry->code;
}

#define WAITING_MAX 16

/* The categories of the last events, not looked up yet. Among thousands, each lies in another part of the table; prefetching
 * brings it in before it is needed. */
struct waiting {
    int64_t count;
    struct text texts[WAITING_MAX];
    int64_t slots[WAITING_MAX];
};

static inline void wait_for(struct waiting *waiting, const struct categories *categories, const struct text *text) {
    const int64_t slot = (int64_t)(text_hash(text) & (uint64_t)categories->slot_mask);
    __builtin_prefetch(&categories->slots[slot]);
    waiting->texts[waiting->count] = *text;
    waiting->slots[waiting->count++] = slot;
}

/* Writes the codes of the waiting categories before `codes_end`. Returns whether each has a code. */
static int look_up(struct waiting *waiting, struct categories *categories, int64_t *codes_end) {
    int64_t *codes = codes_end - waiting->count;
    int are_known = 1;
    for (int64_t place = 0; place < waiting->count; place++) {
        const int32_t number = categories->slots[waiting->slots[place]] - 1;
        __builtin_prefetch(&categories->entries[number < 0 ? 0 : number]);
    }
    for (int64_t place = 0; place < waiting->count; place++) {
        codes[place] = category_code(categories, &waiting->texts[place], waiting->slots[place]);
        are_known &= codes[place] >= 0;
    }
    waiting->count = 0;
    return are_known;
}

/* Removes the events that have no code: their lines count as not read. */
static int64_t with_codes(struct events *events, int64_t count) {
    int64_t *columns[] = {events->rows, events->id_begins, events->id_ends, events->id_numbers, events->timestamp_begins, events->timestamp_ends, events->codes};
    int64_t kept = 0;
    for (int64_t place = 0; place < count; place++) {
        if (events->codes[place] < 0)
            continue;
        for (size_t column = 0; column < sizeof columns / sizeof *columns; column++)
            columns[column][kept] = columns[column][place];
        events->values[kept++] = events->values[place];
    }
    return kept;
}

/* Reads the lines of `content` given by `starts`, `ends` and `readable` (not 0), `count` of them, if they are events of ordinary
 * form.
 * `nodes` are at most NODES_MAX. `wanted` are the roles without which a line is no event. `powers`: see decimal.h. All ids are
 * of one kind, and so are timestamps (or there are none): `events->id_kind` and `events->timestamp_kind`, which the first
 * event sets if they are -1. `categories->entries` must have room for one more than `known_max`, and `bytes` for all of the
 * content after the known texts. The certain faults of other lines go to `faults`. Returns 0, or -1 if there are too many
 * nodes. */
EXPORT int64_t ep_read_events(
    const uint8_t *content, int64_t size, const int64_t *starts, const int64_t *ends, const uint8_t *readable, int64_t count,
    const struct node *nodes, int64_t node_count, int64_t wanted, const uint64_t *powers, struct categories *categories,
    struct events *events) {
    if (node_count > NODES_MAX)
        return -1;
    const struct walk walk = {nodes, (int32_t)node_count, (int32_t)wanted, powers, content + size};
    struct spellings spellings = {0};
    struct waiting waiting = {.count = 0};
    int64_t read = 0;
    int have_codes = 1;
    for (int64_t row = 0; row < count; row++) {
        struct line line;
        enum fault fault;
        if (!readable[row])
            continue;
        const uint8_t *begin = content + starts[row], *end = content + ends[row];
        if (read_alike(&spellings, &walk, &line, begin, end)) {
            /* it has the spelling of an earlier line */
        } else if (read_line(&walk, &line, &fault, begin, end)) {
            learn_spelling(&spellings, &line, begin, end);
        } else {
            if (fault != FAULT_UNKNOWN) {
                const int64_t number = events->fault_count++;
                const int is_text = fault == FAULT_TEXT_VALUE;
                events->fault_rows[number] = row;
                events->faults[number] = fault;
                events->fault_begins[number] = is_text ? line.value_text - content : 0;
                events->fault_ends[number] = is_text ? line.value_text_end - content
                    : fault == FAULT_OPEN_TEXT       ? characters_between(begin, line.open_text)
                                                     : 0;
            }
            continue;
        }
        if (events->id_kind < 0)
            events->id_kind = line.id_kind;
        if (events->timestamp_kind < 0)
            events->timestamp_kind = line.timestamp_kind;
        if (line.id_kind != events->id_kind || line.timestamp_kind != events->timestamp_kind)
            continue;
        if (walk.wanted & ROLE_CATEGORY) {
            if (waiting.count == WAITING_MAX)
                have_codes &= look_up(&waiting, categories, events->codes + read);
            const struct text text = text_of(line.category_begin, line.category_end, walk.content_end);
            wait_for(&waiting, categories, &text);
        }
        events->rows[read] = row;
        if (line.id_kind == KIND_TEXT) {
            events->id_begins[read] = line.id_begin - content;
            events->id_ends[read] = line.id_end - content;
        } else if (line.id_kind == KIND_NUMBER) {
            events->id_numbers[read] = line.id_number;
        }
        if (walk.wanted & ROLE_VALUE)
            events->values[read] = line.value;
        if (line.timestamp_kind != KIND_NONE) {
            events->timestamp_begins[read] = line.timestamp_begin - content;
            events->timestamp_ends[read] = line.timestamp_end - content;
        }
        read++;
    }
    have_codes &= look_up(&waiting, categories, events->codes + read);
    events->count = have_codes ? read : with_codes(events, read);
    return 0;
}

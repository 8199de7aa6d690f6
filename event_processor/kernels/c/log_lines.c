/* Lines of logs as lines of JSON: of web servers (combined), logfmt, and LTSV.
 *
 * Always: writes the same bytes as `records/log_lines.py` does line by line. A line is left to that if it is not certain: it holds a byte that
 * is not ASCII, a control character, or an escape of one; it is blank, or not of its form; a name comes twice.
 */
#include "json.h"

#define PAIRS_MAX 64
#define WHOLE_DIGITS_MAX 18

/* As in `kernels/log_lines.py`. */
enum form { FORM_COMBINED = 0, FORM_LOGFMT = 1, FORM_LTSV = 2 };

/* The bytes from `begin` to `end`. */
struct span {
    const uint8_t *begin, *end;
};

/* The names of the field whose texts become numbers; a name that is not needed is empty. */
struct value_names {
    struct span names[2];
};

static uint8_t *put_span(uint8_t *out, struct span span) {
    memcpy(out, span.begin, (size_t)(span.end - span.begin));
    return out + (span.end - span.begin);
}

#define PUT(out, text) (memcpy(out, text, sizeof text - 1), (out) + (sizeof text - 1))

/* The first such byte, or `end`. */
static const uint8_t *place_of(const uint8_t *place, const uint8_t *end, uint8_t byte) {
    const uint8_t *found = place < end ? memchr(place, byte, (size_t)(end - place)) : NULL;
    return found ? found : end;
}

/* Whether all bytes are printable ASCII, or `allowed`. */
static int is_plain(const uint8_t *place, const uint8_t *end, uint8_t allowed) {
    int odd = 0;
    for (; place < end; place++)
        odd |= (((uint8_t)(*place - 0x20)) > 0x5e) & (*place != allowed);
    return !odd;
}

/* The end of a number of JSON without an exponent, of at most 18 digits before the point and 18 after it; `place` if there is none. */
static const uint8_t *number_end(const uint8_t *place, const uint8_t *end) {
    const uint8_t *begin = place;
    place += place < end && *place == '-';
    const uint8_t *digits = place;
    while (place < end && is_digit(*place))
        place++;
    if (place == digits || place - digits > WHOLE_DIGITS_MAX || (*digits == '0' && place - digits > 1))
        return begin;
    if (place < end && *place == '.') {
        digits = ++place;
        while (place < end && is_digit(*place))
            place++;
        if (place == digits || place - digits > WHOLE_DIGITS_MAX)
            return begin;
    }
    return place;
}

/* Whether it is "-". */
static int is_dash(struct span span) { return span.end - span.begin == 1 && *span.begin == '-'; }

/* Writes a text that needs no escape. */
static uint8_t *put_text(uint8_t *out, struct span span) {
    *out++ = '"';
    out = put_span(out, span);
    *out++ = '"';
    return out;
}

static int hex_digit(uint8_t byte) {
    return is_digit(byte) ? byte - '0' : (byte | 0x20) >= 'a' && (byte | 0x20) <= 'f' ? (byte | 0x20) - 'a' + 10 : -1;
}

/* The byte that the escape at `place` means, and what follows it in `*behind`. A backslash at the end means itself. */
static int escaped_byte(const uint8_t *place, const uint8_t *end, const uint8_t **behind) {
    if (end - place >= 4 && place[1] == 'x' && hex_digit(place[2]) >= 0 && hex_digit(place[3]) >= 0) {
        *behind = place + 4;
        return hex_digit(place[2]) << 4 | hex_digit(place[3]);
    }
    *behind = end - place < 2 ? end : place + 2;
    return end - place < 2 ? '\\' : place[1];
}

/* Whether all escapes in a text of a web server mean ASCII that is no control character. */
static int is_resolvable(struct span span) {
    while (span.begin < span.end) {
        const uint8_t *place = place_of(span.begin, span.end, '\\');
        if (place == span.end)
            return 1;
        const int byte = escaped_byte(place, span.end, &span.begin), is_letter = span.begin == place + 2;
        if (byte < 0x20 || byte > 0x7f || (is_letter && memchr("nrtbfv", byte, 6)))
            return 0;
    }
    return 1;
}

/* Writes a text whose escapes are resolvable. */
static uint8_t *put_resolved(uint8_t *out, struct span span) {
    *out++ = '"';
    while (span.begin < span.end) {
        const uint8_t *place = place_of(span.begin, span.end, '\\');
        out = put_span(out, (struct span){span.begin, place});
        span.begin = place;
        if (place < span.end) {
            const int byte = escaped_byte(place, span.end, &span.begin);
            if (byte == '"' || byte == '\\')
                *out++ = '\\';
            *out++ = (uint8_t)byte;
        }
    }
    *out++ = '"';
    return out;
}

/* Writes a text of a web server; null if it is empty or "-". */
static uint8_t *put_said(uint8_t *out, struct span span) {
    return span.begin == span.end || is_dash(span) ? PUT(out, "null") : put_resolved(out, span);
}

/* The quote that ends a text, or `end`. */
static const uint8_t *quote_place(const uint8_t *place, const uint8_t *end, int has_escapes) {
    if (!has_escapes)
        return place_of(place, end, '"');
    while (place < end && *place != '"')
        place += 1 + (*place == '\\');
    return place < end ? place : end;
}

/* The end of the method of a request: capital letters, then also "_" and "-". `place` if there is none. */
static const uint8_t *method_end(const uint8_t *place, const uint8_t *end) {
    if (place == end || *place < 'A' || *place > 'Z')
        return place;
    while (place < end && ((*place >= 'A' && *place <= 'Z') || *place == '_' || *place == '-'))
        place++;
    return place;
}

static uint8_t *put_request(uint8_t *out, struct span request) {
    const uint8_t *method = method_end(request.begin, request.end);
    if (method > request.begin && method < request.end && *method == ' ') {
        const uint8_t *path = place_of(method + 1, request.end, ' '), *protocol = path;
        if (request.end - path > 6 && !memcmp(path, " HTTP/", 6))
            for (protocol = path + 6; protocol < request.end && (is_digit(*protocol) || *protocol == '.'); protocol++)
                continue;
        if (path > method + 1 && protocol == request.end) {
            out = PUT(out, ",\"method\":");
            out = put_text(out, (struct span){request.begin, method});
            out = PUT(out, ",\"path\":");
            out = put_said(out, (struct span){method + 1, path});
            out = PUT(out, ",\"protocol\":");
            return path == request.end ? PUT(out, "null") : put_text(out, (struct span){path + 1, request.end});
        }
    }
    out = PUT(out, ",\"method\":null,\"path\":");
    out = put_said(out, request);
    return PUT(out, ",\"protocol\":null");
}

/* The end of a count: "-", or at most `digits_max` digits without a zero before them; NULL if there is none. */
static const uint8_t *count_end(const uint8_t *place, const uint8_t *end, int digits_max) {
    if (place < end && *place == '-')
        return place + 1;
    const uint8_t *begin = place;
    while (place < end && is_digit(*place))
        place++;
    return place == begin || place - begin > digits_max || (*begin == '0' && place - begin > 1) ? NULL : place;
}

static uint8_t *put_count(uint8_t *out, struct span count) { return is_dash(count) ? PUT(out, "null") : put_span(out, count); }

/* The object of a line of Apache or nginx, with the last two fields or without them. NULL: the line is left. */
static uint8_t *put_combined(uint8_t *out, const uint8_t *begin, const uint8_t *end) {
    if (!is_plain(begin, end, ' '))
        return NULL;
    const uint8_t *escape = place_of(begin, end, '\\');
    const int has_escapes = escape != end;
    const uint8_t *address = place_of(begin, end, ' '), *ident = place_of(address + 1, end, ' ');
    const uint8_t *bracket = place_of(ident + 1, end, '['), *timestamp = place_of(bracket + 1, end, ']');
    /* Before the request there is no quote, so nothing there needs an escape. */
    const uint8_t *quote = place_of(begin, end, '"'), *request = quote_place(quote + 1, end, has_escapes);
    if (address == begin || ident <= address + 1 || bracket < ident + 3 || bracket[-1] != ' ' || quote != timestamp + 2 || timestamp[1] != ' ')
        return NULL;
    const uint8_t *status = request + 2;
    if (escape < quote || end - request < 5 || request[1] != ' ')
        return NULL;
    const uint8_t *status_end = count_end(status, end, 3);
    if (!status_end || (status_end - status != 3 && *status != '-') || status_end >= end || *status_end != ' ')
        return NULL;
    const uint8_t *size = status_end + 1, *size_end = count_end(size, end, WHOLE_DIGITS_MAX);
    struct span referer = {end, end}, agent = {end, end};
    if (!size_end)
        return NULL;
    if (size_end != end) {
        if (end - size_end < 7 || size_end[0] != ' ' || size_end[1] != '"')
            return NULL;
        referer = (struct span){size_end + 2, quote_place(size_end + 2, end, has_escapes)};
        if (end - referer.end < 4 || referer.end[1] != ' ' || referer.end[2] != '"')
            return NULL;
        agent = (struct span){referer.end + 3, quote_place(referer.end + 3, end, has_escapes)};
        if (agent.end != end - 1)
            return NULL;
    }
    const struct span said = {quote + 1, request};
    if (has_escapes && !(is_resolvable(said) && is_resolvable(referer) && is_resolvable(agent)))
        return NULL;
    out = PUT(out, "{\"remote_addr\":");
    out = put_text(out, (struct span){begin, address});
    out = PUT(out, ",\"ident\":");
    out = put_said(out, (struct span){address + 1, ident});
    out = PUT(out, ",\"user\":");
    out = put_said(out, (struct span){ident + 1, bracket - 1});
    out = PUT(out, ",\"timestamp\":");
    out = put_text(out, (struct span){bracket + 1, timestamp});
    out = put_request(out, said);
    out = PUT(out, ",\"status\":");
    out = put_count(out, (struct span){status, status_end});
    out = PUT(out, ",\"bytes\":");
    out = put_count(out, (struct span){size, size_end});
    out = PUT(out, ",\"referer\":");
    out = put_said(out, referer);
    out = PUT(out, ",\"user_agent\":");
    out = put_said(out, agent);
    return PUT(out, "}\n");
}

/* Writes a text; a quote or a backslash gets a backslash before it. */
static uint8_t *put_escaped(uint8_t *out, struct span span) {
    *out++ = '"';
    while (span.begin < span.end) {
        const uint8_t *special = text_end(span.begin, span.end);
        out = put_span(out, (struct span){span.begin, special});
        if (special < span.end) {
            *out++ = '\\';
            *out++ = *special++;
        }
        span.begin = special;
    }
    *out++ = '"';
    return out;
}

static int is_value(struct span name, const struct value_names *value) {
    for (int each = 0; each < 2; each++) {
        const struct span wanted = value->names[each];
        const int64_t length = wanted.end - wanted.begin;
        if (length && name.end - name.begin == length && same_bytes(name.begin, wanted.begin, length))
            return 1;
    }
    return 0;
}

/* Whether a name comes a second time, or there are too many to know. Keeps it in `names` at `count`. */
static int is_repeated(struct span *names, int count, struct span name) {
    const int64_t length = name.end - name.begin;
    if (count == PAIRS_MAX)
        return 1;
    for (int each = 0; each < count; each++)
        if (names[each].end - names[each].begin == length && same_bytes(names[each].begin, name.begin, length))
            return 1;
    names[count] = name;
    return 0;
}

/* Writes the text of the field of numbers: a number, or null for nothing or "-". NULL: the line is left. */
static uint8_t *put_value(uint8_t *out, struct span text) {
    if (text.begin == text.end || is_dash(text))
        return PUT(out, "null");
    return number_end(text.begin, text.end) == text.end ? put_span(out, text) : NULL;
}

/* Writes one pair of logfmt, and moves `*place` to what follows. NULL: the line is left. */
static uint8_t *put_logfmt_pair(uint8_t *out, const uint8_t **place, const uint8_t *end, struct span name, const struct value_names *value) {
    out = put_escaped(out, name);
    *out++ = ':';
    if (*place == end || **place != '=')
        return PUT(out, "true");
    const uint8_t *begin = ++*place;
    if (begin < end && *begin == '"') {
        const uint8_t *quote = place_of(begin + 1, end, '"');
        /* An escape has other meanings than in JSON. */
        if (quote == end || place_of(begin + 1, quote, '\\') != quote)
            return NULL;
        *place = quote + 1;
        const struct span text = {begin + 1, quote};
        return is_value(name, value) ? put_value(out, text) : put_text(out, text);
    }
    const uint8_t *text_ends = begin;
    while (text_ends < end && *text_ends != ' ' && *text_ends != '"')
        text_ends++;
    *place = text_ends;
    const struct span text = {begin, text_ends};
    return is_value(name, value) ? put_value(out, text) : put_escaped(out, text);
}

/* The object of a line of logfmt. NULL: the line is left. */
static uint8_t *put_logfmt(uint8_t *out, const uint8_t *place, const uint8_t *end, const struct value_names *value) {
    struct span names[PAIRS_MAX];
    int count = 0;
    if (!is_plain(place, end, ' '))
        return NULL;
    while (place < end && *place == ' ')
        place++;
    *out++ = '{';
    while (place < end) {
        struct span name = {place, place};
        while (name.end < end && *name.end != ' ' && *name.end != '=' && *name.end != '"')
            name.end++;
        if (name.end == name.begin || is_repeated(names, count, name))
            return NULL;
        if (count++)
            *out++ = ',';
        place = name.end;
        out = put_logfmt_pair(out, &place, end, name, value);
        if (!out || (place < end && *place != ' '))
            return NULL;
        while (place < end && *place == ' ')
            place++;
    }
    return count ? PUT(out, "}\n") : NULL;
}

/* The object of a line of LTSV. NULL: the line is left. */
static uint8_t *put_ltsv(uint8_t *out, const uint8_t *place, const uint8_t *end, const struct value_names *value) {
    struct span names[PAIRS_MAX];
    int count = 0;
    if (!is_plain(place, end, '\t'))
        return NULL;
    while (place < end && end[-1] == '\t')
        end--;
    *out++ = '{';
    while (place < end) {
        const uint8_t *tab = place_of(place, end, '\t'), *colon = place_of(place, tab, ':');
        const struct span name = {place, colon}, text = {colon + 1, tab};
        if (colon == tab || colon == place || is_repeated(names, count, name))
            return NULL;
        if (count++)
            *out++ = ',';
        out = put_escaped(out, name);
        *out++ = ':';
        out = is_value(name, value) ? put_value(out, text) : put_escaped(out, text);
        if (!out)
            return NULL;
        /* A tab at the end of the line was taken off, so a pair follows a tab. */
        place = tab + (tab < end);
    }
    return count ? PUT(out, "}\n") : NULL;
}

/* Writes the objects of `count` lines in one form, each with a line feed. `out_ends`: where each object ends; a line that is left has none.
 * `names`: the two names of the field of numbers, which end at `name_ends`. `out` has room for five times each line and 256 bytes. Returns
 * how many lines are left. */
EXPORT int64_t ep_write_log_objects(
    const uint8_t *content, const int64_t *begins, const int64_t *ends, int64_t count, int64_t form, const uint8_t *names,
    const int64_t *name_ends, int64_t bytes_max, uint8_t *out, int64_t *out_ends) {
    const struct value_names value = {{{names, names + name_ends[0]}, {names + name_ends[0], names + name_ends[1]}}};
    uint8_t *place = out;
    int64_t left = 0;
    for (int64_t row = 0; row < count; row++) {
        const uint8_t *begin = content + begins[row], *end = content + ends[row];
        uint8_t *behind = NULL;
        if (begin < end && end - begin <= bytes_max)
            behind = form == FORM_COMBINED ? put_combined(place, begin, end)
                     : form == FORM_LOGFMT ? put_logfmt(place, begin, end, &value)
                                           : put_ltsv(place, begin, end, &value);
        if (behind)
            place = behind;
        else
            left++;
        out_ends[row] = place - out;
    }
    return left;
}

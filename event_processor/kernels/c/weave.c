/* Columns of JSON values -> rows of JSON objects, in two forms at once: what a checkpoint shows of thousands of categories.
 *
 * Always: copies values unchanged. The caller decides the form of the values and the bytes between them.
 */
#include "json.h"

/* Consecutive values, with a comma between two: the inside of an array's brackets, up to `end`. Texts, numbers or words, no
 * arrays. */
struct column {
    const uint8_t *place, *end;
};

/* The bytes around the values: piece i is `pieces[ends[i - 1]]` to `pieces[ends[i]]`. With n columns of fields, piece i < n
 * comes before the value of field i. Then follow, in this order, the pieces before the first part, between two parts, after
 * the last part, and for no part (these two lead to the value of the last column); the end of a row; between two rows; before
 * the first row; after the last row. */
struct form {
    const uint8_t *pieces;
    const int64_t *ends;
    uint8_t *out;
    int64_t size;
};

enum { FORMS = 2, SPARE = 32 };
enum { FIRST_PART, NEXT_PART, LAST_PART, NO_PART, END_ROW, NEXT_ROW, FIRST_ROW, LAST_ROW };

/* Appends `size` bytes; more can be read, up to `end`. A few bytes are copied as SPARE bytes, without a call; the next write
 * replaces the excess. */
static inline void put(struct form *form, const uint8_t *bytes, int64_t size, const uint8_t *end) {
    uint8_t *out = form->out + form->size;
    if (size <= SPARE && end - bytes >= SPARE)
        memcpy(out, bytes, SPARE);
    else
        memcpy(out, bytes, (size_t)size);
    form->size += size;
}

static inline void put_piece(struct form *form, int64_t number, int64_t last) {
    const int64_t begin = number ? form->ends[number - 1] : 0;
    put(form, form->pieces + begin, form->ends[number] - begin, form->pieces + form->ends[last]);
}

/* The column's next value, from `place` to the returned pointer; moves the column past it. NULL if there is none. */
static inline const uint8_t *next_value(struct column *column, const uint8_t **place) {
    const uint8_t *end = column->place;
    *place = end;
    if (end >= column->end)
        return NULL;
    if (*end == '"') {
        for (end = text_end(end + 1, column->end); end < column->end && *end == '\\'; end = text_end(end + 2, column->end))
            if (column->end - end < 2)
                return NULL;
        if (end++ >= column->end)
            return NULL;
    } else {
        while (end < column->end && *end != ',') end++;
    }
    column->place = end < column->end ? end + 1 : end;
    return end;
}

static inline int is_zero(const uint8_t *begin, const uint8_t *end) { return end - begin == 3 && memcmp(begin, "0.0", 3) == 0; }

/* Writes `rows` rows: the first `fields` columns, a list of the values of the next `parts` columns that are not 0.0, and the last column.
 * The caller provides the room: the size of all columns; per row the size of each piece, and of the piece between parts once per
 * part; and SPARE bytes more.
 * Returns 0, or -1 if a column holds fewer values. */
EXPORT int64_t ep_weave(
    struct column *columns, int64_t fields, int64_t parts, int64_t rows, struct form *forms) {
    const uint8_t *begin, *end;
    const int64_t last = fields + LAST_ROW;
    for (int64_t row = 0; row < rows; row++) {
        for (int form = 0; form < FORMS; form++) put_piece(&forms[form], fields + (row ? NEXT_ROW : FIRST_ROW), last);
        for (int64_t field = 0; field < fields; field++) {
            struct column *column = &columns[field];
            if (!(end = next_value(column, &begin)))
                return -1;
            for (int form = 0; form < FORMS; form++) {
                put_piece(&forms[form], field, last);
                put(&forms[form], begin, end - begin, column->end);
            }
        }
        int64_t written = 0;
        for (int64_t part = 0; part < parts; part++) {
            struct column *column = &columns[fields + part];
            if (!(end = next_value(column, &begin)))
                return -1;
            if (is_zero(begin, end))
                continue;
            for (int form = 0; form < FORMS; form++) {
                put_piece(&forms[form], fields + (written ? NEXT_PART : FIRST_PART), last);
                put(&forms[form], begin, end - begin, column->end);
            }
            written++;
        }
        struct column *final = &columns[fields + parts];
        if (!(end = next_value(final, &begin)))
            return -1;
        for (int form = 0; form < FORMS; form++) {
            put_piece(&forms[form], fields + (written ? LAST_PART : NO_PART), last);
            put(&forms[form], begin, end - begin, final->end);
            put_piece(&forms[form], fields + END_ROW, last);
        }
    }
    for (int form = 0; form < FORMS; form++) put_piece(&forms[form], last, last);
    return 0;
}

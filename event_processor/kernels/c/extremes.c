/* Ids by their order: whether a column of them rises, the first and the last of each group, and their leading words.
 *
 * A text is `content[begins[i]:ends[i]]`. Texts are in the order of their bytes; a prefix of another text comes first.
 */
#include "kernels.h"

enum { WORD = 8, AHEAD = 16 };

/* A column of texts, and how many bytes at their beginning are the same in all. */
struct texts {
    const uint8_t *content;
    int64_t size;
    const int64_t *begins, *ends;
    int64_t count, shared;
};

/* The first and the last event of one group by id, and their words. */
struct ends {
    uint64_t least, greatest;
    int64_t first, last;
};

/* The word that begins at `begin`, as a number in the order of texts; zeros after `end`. Both lie within the content. */
static inline uint64_t ordered_word(const uint8_t *content, int64_t size, int64_t begin, int64_t end) {
    int64_t width = end - begin;
    if (width <= 0) return 0;
    if (size - begin >= WORD) {
        uint64_t word = __builtin_bswap64(word_at(content + begin));
        return width >= WORD ? word : word & ~(~(uint64_t)0 >> (8 * width));
    }
    uint64_t word = 0; /* at the very end of the content */
    for (int64_t place = 0; place < WORD; place++) word = word << 8 | (place < width ? content[begin + place] : 0);
    return word;
}

/* The order of two texts whose first `shared` bytes are equal: negative, 0 or positive. */
static inline int compare(const struct texts *texts, int64_t one, int64_t other, int64_t shared) {
    const uint8_t *first = texts->content + texts->begins[one], *second = texts->content + texts->begins[other];
    int64_t width = texts->ends[one] - texts->begins[one], second_width = texts->ends[other] - texts->begins[other];
    int64_t common = width < second_width ? width : second_width;
    for (; shared + WORD <= common; shared += WORD) {
        uint64_t word = word_at(first + shared), second_word = word_at(second + shared);
        if (word != second_word) return __builtin_bswap64(word) < __builtin_bswap64(second_word) ? -1 : 1;
    }
    if (shared < common && common >= WORD) {
        /* Less than a word is left: compare the last word, part of which is known to be equal. */
        uint64_t word = word_at(first + common - WORD), second_word = word_at(second + common - WORD);
        if (word != second_word) return __builtin_bswap64(word) < __builtin_bswap64(second_word) ? -1 : 1;
        shared = common;
    }
    for (; shared < common; shared++)
        if (first[shared] != second[shared]) return first[shared] < second[shared] ? -1 : 1;
    return width < second_width ? -1 : width > second_width;
}

static inline int is_within(const struct texts *texts, int64_t place) {
    int64_t begin = texts->begins[place], end = texts->ends[place];
    return 0 <= begin && begin <= end && end <= texts->size;
}

/* Prefetches the text AHEAD places on: texts lie too far apart for the processor to predict. */
static inline void fetch_ahead(const struct texts *texts, int64_t place) {
    if (place + AHEAD < texts->count) {
        uintptr_t text = (uintptr_t)texts->content + (uintptr_t)texts->begins[place + AHEAD];
        __builtin_prefetch((const void *)text);
    }
}

/* How many bytes at the beginning of all texts are the same. -1 if a text lies outside of the content. */
static int64_t shared_bytes(const struct texts *texts) {
    if (!texts->count) return 0;
    if (!is_within(texts, 0)) return -1;
    int64_t shared = texts->ends[0] - texts->begins[0];
    const uint8_t *model = texts->content + texts->begins[0];
    for (int64_t place = 1; place < texts->count; place++) {
        if (!is_within(texts, place)) return -1;
        const uint8_t *text = texts->content + texts->begins[place];
        int64_t width = texts->ends[place] - texts->begins[place], same = 0;
        shared = width < shared ? width : shared;
        while (same + WORD <= shared && word_at(model + same) == word_at(text + same)) same += WORD;
        while (same < shared && model[same] == text[same]) same++;
        shared = same;
    }
    return shared;
}

/* After this number of texts it is known whether most are peaks. */
enum { PEAKS_TRIED = 1024 };

/* peaks[i]: whether text i is above all before it; the first is. Returns 1; or 0 if the texts do not all have one width, if
 * one lies outside of the content, or if fewer than half of the first texts are peaks: then the output means nothing. */
EXPORT int64_t ep_text_peaks(const uint8_t *content, int64_t size, const int64_t *begins, const int64_t *ends, int64_t count,
                             uint8_t *peaks) {
    const struct texts texts = {content, size, begins, ends, count, 0};
    int64_t peak = 0, found = 0;
    for (int64_t place = 0; place < count; place++) {
        if (!is_within(&texts, place) || ends[place] - begins[place] != ends[0] - begins[0]) return 0;
        fetch_ahead(&texts, place);
        const int is_peak = place == 0 || compare(&texts, place, peak, 0) > 0;
        peaks[place] = (uint8_t)is_peak;
        peak = is_peak ? place : peak;
        found += is_peak;
        if (place == PEAKS_TRIED && 2 * found < PEAKS_TRIED) return 0;
    }
    return 1;
}

/* 1 if no text is below the one before it, 0 if one is; -1 if one that was read lies outside of the content. */
EXPORT int64_t ep_texts_rise(const uint8_t *content, int64_t size, const int64_t *begins, const int64_t *ends, int64_t count) {
    const struct texts texts = {content, size, begins, ends, count, 0};
    if (count && !is_within(&texts, 0)) return -1;
    for (int64_t place = 1; place < count; place++) {
        if (!is_within(&texts, place)) return -1;
        fetch_ahead(&texts, place);
        if (compare(&texts, place - 1, place, 0) > 0) return 0;
    }
    return 1;
}

/* Writes the first word of each text, as a number in the order of texts, into `words` (count).
 * Returns 0; or -1 if a text lies outside of the content. */
EXPORT int64_t ep_leading_words(const uint8_t *content, int64_t size, const int64_t *begins, const int64_t *ends, int64_t count,
                                uint64_t *words) {
    const struct texts texts = {content, size, begins, ends, count, 0};
    for (int64_t place = 0; place < count; place++) {
        if (!is_within(&texts, place)) return -1;
        fetch_ahead(&texts, place);
        words[place] = ordered_word(content, size, begins[place], ends[place]);
    }
    return 0;
}

static void empty_groups(struct ends *groups, int64_t group_count) {
    const struct ends empty = {~(uint64_t)0, 0, -1, -1};
    for (int64_t number = 0; number < group_count; number++) groups[number] = empty;
}

/* Makes the event the first, the last, or both. Without a branch: in small groups it could not be predicted. */
static inline void move_ends(struct ends *group, uint64_t word, int64_t place, int is_first, int is_last) {
    uint64_t first = (uint64_t)0 - (uint64_t)is_first, last = (uint64_t)0 - (uint64_t)is_last;
    group->least ^= (group->least ^ word) & first;
    group->first ^= (group->first ^ place) & (int64_t)first;
    group->greatest ^= (group->greatest ^ word) & last;
    group->last ^= (group->last ^ place) & (int64_t)last;
}

/* Takes a text whose word is not strictly inside the group's range: compares words, and if they tie, the bytes after them. */
static void take_tied(const struct texts *texts, struct ends *group, uint64_t word, int64_t place) {
    int64_t known = texts->shared;
    if (group->first < 0 || word < group->least ||
        (word == group->least && compare(texts, place, group->first, known) < 0)) {
        group->least = word;
        group->first = place;
    }
    if (group->last < 0 || word > group->greatest ||
        (word == group->greatest && compare(texts, place, group->last, known) >= 0)) {
        group->greatest = word;
        group->last = place;
    }
}

/* Writes the first and the last event by id of each of `group_count` groups into `groups`. Of equal ids, the earliest event is
 * first and the latest is last; -1 in an empty group. The words there are for the kernel only.
 *
 * codes: the group of each of `count` events, at least one; NULL: all are in group 0.
 * Returns the place of the greatest id of all, any of equal ones; -1: a text lies outside of the content. -2: a code is out of
 * range. */
EXPORT int64_t ep_text_extremes(const uint8_t *content, int64_t size, const int64_t *begins, const int64_t *ends,
                                const int64_t *codes, int64_t count, struct ends *groups, int64_t group_count) {
    struct texts texts = {content, size, begins, ends, count, 0};
    texts.shared = shared_bytes(&texts);
    if (texts.shared < 0) return -1;
    empty_groups(groups, group_count);
    for (int64_t place = 0; place < count; place++) {
        uint64_t code = codes ? (uint64_t)codes[place] : 0;
        if (code >= (uint64_t)group_count) return -2;
        struct ends *group = &groups[code];
        fetch_ahead(&texts, place);
        uint64_t word = ordered_word(content, size, begins[place] + texts.shared, ends[place]);
        if (word == group->least || word == group->greatest) {
            take_tied(&texts, group, word, place);
            continue;
        }
        /* The word of a first event extends both ends. */
        move_ends(group, word, place, word < group->least, word > group->greatest);
    }
    int64_t found = -1;
    uint64_t greatest = 0;
    for (int64_t number = 0; number < group_count; number++) {
        int64_t last = groups[number].last;
        uint64_t word = groups[number].greatest;
        if (last < 0 || word < greatest) continue;
        if (found < 0 || word > greatest || compare(&texts, last, found, texts.shared) > 0) found = last;
        greatest = word;
    }
    return found;
}

/* As `ep_text_extremes`, for ids that are integers. */
EXPORT int64_t ep_integer_extremes(const int64_t *numbers, const int64_t *codes, int64_t count, struct ends *groups,
                                   int64_t group_count) {
    const uint64_t sign = (uint64_t)1 << 63;
    empty_groups(groups, group_count);
    for (int64_t place = 0; place < count; place++) {
        uint64_t code = codes ? (uint64_t)codes[place] : 0;
        if (code >= (uint64_t)group_count) return -2;
        struct ends *group = &groups[code];
        uint64_t word = (uint64_t)numbers[place] ^ sign; /* in the order of the integers */
        move_ends(group, word, place, (word < group->least) | (group->first < 0), word >= group->greatest);
    }
    int64_t found = -1;
    uint64_t greatest = 0;
    for (int64_t number = 0; number < group_count; number++) {
        if (groups[number].last >= 0 && groups[number].greatest >= greatest) {
            greatest = groups[number].greatest;
            found = groups[number].last;
        }
    }
    return found;
}

/* Which texts are above the greatest of their width so far, and which text is the greatest now. */
#include "kernels.h"

#define WIDTH_MAX 64

/* Whether one text of `width` bytes is above another of that width. Compares eight bytes at a time. */
static inline int is_above(const uint8_t *one, const uint8_t *other, int64_t width) {
    if (width < 8) {
        for (int64_t i = 0; i < width; i++)
            if (one[i] != other[i])
                return one[i] > other[i];
        return 0;
    }
    for (int64_t i = 0; i < width; i += 8) {
        /* The last word may overlap the one before it; the shared bytes are equal then. */
        const int64_t at = i < width - 8 ? i : width - 8;
        const uint64_t word = word_at(one + at), another = word_at(other + at);
        if (word != another)
            return __builtin_bswap64(word) > __builtin_bswap64(another);
    }
    return 0;
}

/* above[i]: 1 if text i, content[begins[i]:ends[i]], is above the mark of its width, or the width has no mark yet; 0 if it is
 * not, and for widths that have no marks at all. `marks`: WIDTH_MAX + 1 marks of WIDTH_MAX bytes each; a mark starts at its first
 * byte. `known`: whether there is a mark. greatest[width]: the text that is the greatest of its width and above the mark, or -1
 * if there is none. `peaks`: NULL; or which texts, all of one width, are above all before them: after one that is above the mark,
 * all peaks are above it.
 * Returns 1; or 0 if a text is not within the `length` bytes of content: then the output means nothing. */
EXPORT int64_t ep_texts_above(const uint8_t *content, int64_t length, const int64_t *begins, const int64_t *ends, int64_t n,
                              const uint8_t *marks, const uint8_t *known, const uint8_t *peaks, uint8_t *above, int64_t *greatest) {
    int64_t last_peak = -1; /* above the mark */
    for (int64_t width = 0; width <= WIDTH_MAX; width++)
        greatest[width] = -1;
    for (int64_t i = 0; i < n; i++) {
        if (peaks && peaks[i] && last_peak >= 0) {
            above[i] = 1;
            last_peak = i;
            continue;
        }
        const int64_t begin = begins[i], end = ends[i];
        if (begin < 0 || end < begin || end > length)
            return 0;
        const int64_t width = end - begin;
        above[i] = 0;
        if (width < 1 || width > WIDTH_MAX)
            continue;
        const uint8_t *text = content + begin;
        if (known[width] && !is_above(text, marks + width * WIDTH_MAX, width))
            continue;
        above[i] = 1;
        if (peaks && peaks[i])
            last_peak = i;
        if (greatest[width] < 0 || is_above(text, content + begins[greatest[width]], width))
            greatest[width] = i;
    }
    if (last_peak >= 0)
        greatest[ends[last_peak] - begins[last_peak]] = last_peak;
    return 1;
}

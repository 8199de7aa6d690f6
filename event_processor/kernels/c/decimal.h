/* Decimal numbers -> the nearest double, and 64-bit integers.
 *
 * Sources: a number below 2^53 and a power of ten up to 10^22 are doubles, so that their product or quotient is rounded once
 * (W. Clinger, "How to read floating point numbers accurately", 1990). Otherwise 128 bits of a power of five decide (D.
 * Lemire, "Number parsing at a gigabyte per second", 2021). If they might not decide, the number is left to another decoder. */
#ifndef EVENT_PROCESSOR_DECIMAL_H
#define EVENT_PROCESSOR_DECIMAL_H

#include <float.h>

#include "json.h"

/* The exponents of ten in the table of powers. */
#define POWER_MIN (-60)
#define POWER_MAX 60

#define DIGITS_MAX 19
#define EXACT_POWER_MAX 22
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023

static const double EXACT_POWERS[EXACT_POWER_MAX + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                                         1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* The double nearest to digits * 10^power, digits not 0; -1 if it cannot tell. */
static inline double scaled(uint64_t digits, int power, const uint64_t *powers) {
    const int leading = __builtin_clzll(digits);
    const uint64_t *five = powers + 2 * (power - POWER_MIN);
    const wide upper = (wide)(digits << leading) * five[0];
    uint64_t high = (uint64_t)(upper >> 64), low = (uint64_t)upper;
    if ((high & 0x1ff) == 0x1ff) {
        /* All bits that are cut off are ones, so a carry from the lower half of the power might change the rounding. */
        const uint64_t carried = (uint64_t)(((wide)(digits << leading) * five[1]) >> 64);
        low += carried;
        high += low < carried;
    }
    if (low == UINT64_MAX || (low <= 1 && power >= -4 && power <= 23))
        return -1.0; /* it may lie halfway between two doubles: rare, and left to another decoder */
    const int upper_bit = (int)(high >> 63);
    uint64_t mantissa = high >> (upper_bit + 64 - MANTISSA_BITS - 3);
    /* 217706 / 2^16 is log2(10): the exponent of two of 10^power. */
    int64_t exponent = ((217706 * (int64_t)power) >> 16) + 63 + upper_bit - leading + EXPONENT_BIAS;
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    if (mantissa >> (MANTISSA_BITS + 1)) {
        mantissa >>= 1;
        exponent++;
    }
    const uint64_t bits = (mantissa & ~(1ull << MANTISSA_BITS)) | ((uint64_t)exponent << MANTISSA_BITS);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline double nearest(uint64_t digits, int power, const uint64_t *powers) {
    if (digits == 0)
        return 0.0;
#if FLT_EVAL_METHOD == 0
    if (power == 0)
        return (double)digits;
    if (digits <= 1ull << 53 && power >= -EXACT_POWER_MAX && power <= EXACT_POWER_MAX)
        return power < 0 ? (double)digits / EXACT_POWERS[-power] : (double)digits * EXACT_POWERS[power];
#endif
    return scaled(digits, power, powers);
}

/* The number of digits at the start of the word: 8 if it is all digits. `values` gets its bytes less '0'. */
static inline int leading_digits(uint64_t word, uint64_t *values) {
    const uint64_t highs = 0x8080808080808080u;
    *values = word ^ 0x3030303030303030u;
    /* Above the first byte that is no digit the marks may be wrong, never below. */
    const uint64_t others = ((*values + 0x7676767676767676u) | *values) & highs;
    return others ? __builtin_ctzll(others) >> 3 : 8;
}

/* The number of the first `count` (1 to 8) of these digits, the first in the lowest byte. Three multiplications (D. Lemire, as
 * above). */
static inline uint64_t number_of(uint64_t values, int count) {
    values <<= 64 - 8 * count;
    values = (values * 10 + (values >> 8)) & 0x00ff00ff00ff00ffu;
    values = (values * 100 + (values >> 16)) & 0x0000ffff0000ffffu;
    return (values * 10000 + (values >> 32)) & 0xffffffffu;
}

/* The number of bytes that may be read. */
#define PLAIN_BYTES 32

static const uint64_t WHOLE_POWERS[9] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

/* As `read_decimal`, for a plain number of up to 15 digits: in words, without a branch per digit, since their number cannot be
 * predicted. PLAIN_BYTES from `place` on can be read. Before `end` there is only the number; a byte that is no digit follows.
 * NULL decides nothing. */
static inline const uint8_t *read_plain_decimal(const uint8_t *place, double *value, int64_t *whole, int *integer) {
    const int negative = *place == '-';
    place += negative;
    uint64_t values, more;
    int count = leading_digits(word_at(place), &values);
    if (count == 0 || (*place == '0' && count > 1))
        return NULL;
    uint64_t digits = number_of(values, count);
    place += count;
    if (count == 8) {
        count = leading_digits(word_at(place), &more);
        if (count == 8)
            return NULL;
        if (count)
            digits = digits * WHOLE_POWERS[count] + number_of(more, count);
        place += count;
        count += 8;
    }
    *integer = *place != '.';
    *value = (double)digits;
    if (!*integer) {
        const int fraction = leading_digits(word_at(++place), &more);
        if (fraction == 0 || fraction == 8 || count + fraction > 15)
            return NULL;
        digits = digits * WHOLE_POWERS[fraction] + number_of(more, fraction);
        *value = (double)digits / EXACT_POWERS[fraction];
        place += fraction;
    }
    if ((*place | 0x20) == 'e' || (negative && digits == 0))
        return NULL;
    *whole = negative ? -(int64_t)digits : (int64_t)digits;
    *value = negative ? -*value : *value;
    return place;
}

/* Reads the number at `place`, at most up to `end`. Its double goes to `value`, never -0.0. `*integer` is 1 if it is written as
 * an integer of 64 bits (not "-0"), which goes to `whole`; else 0.
 * `powers`: 128 bits of 5^q per row, high half first, the highest bit set, for q from POWER_MIN to POWER_MAX.
 * Returns what follows; or NULL if it is no JSON number, or one for another decoder: of more than 19 digits, or outside of the
 * table. */
static inline const uint8_t *read_decimal(
    const uint8_t *place, const uint8_t *end, const uint64_t *powers, double *value, int64_t *whole, int *integer) {
    const int negative = place < end && *place == '-';
    const uint8_t *first = place += negative;
    uint64_t digits = 0;
    while (place < end && is_digit(*place))
        digits = 10 * digits + (uint64_t)(*place++ - '0');
    if (place == first || (*first == '0' && place - first > 1))
        return NULL;
    ptrdiff_t count = place - first - (*first == '0'); /* of the significant digits: leading zeros do not count */
    int power = 0;
    *integer = 1;
    if (place < end && *place == '.') {
        const uint8_t *point = ++place;
        while (place < end && *place == '0' && digits == 0)
            place++;
        count -= place - point;
        while (place < end && is_digit(*place))
            digits = 10 * digits + (uint64_t)(*place++ - '0');
        if (place == point || place - point > DIGITS_MAX - POWER_MIN)
            return NULL;
        count += place - point;
        power = -(int)(place - point);
        *integer = 0;
    }
    if (count > DIGITS_MAX) /* `digits` may have overflowed */
        return NULL;
    if (place < end && (*place == 'e' || *place == 'E')) {
        const uint8_t *sign = ++place;
        place += place < end && (*place == '+' || *place == '-');
        const uint8_t *written = place;
        int exponent = 0;
        while (place < end && is_digit(*place) && place - written < 3)
            exponent = 10 * exponent + (*place++ - '0');
        if (place == written || place - written > 2)
            return NULL;
        power += *sign == '-' ? -exponent : exponent;
        *integer = 0;
    }
    if (power < POWER_MIN || power > POWER_MAX)
        return NULL;
    *value = nearest(digits, power, powers);
    if (*value < 0.0)
        return NULL;
    if (*integer) {
        *integer = digits <= (uint64_t)INT64_MAX && !(negative && digits == 0);
        *whole = *integer ? (negative ? -(int64_t)digits : (int64_t)digits) : 0;
    }
    if (negative && *value != 0.0)
        *value = -*value;
    return place;
}

#endif

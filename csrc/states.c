/* Bit states: counting, listing, and the two orders (by row, by unit). */
#include "rbm_kernels.h"

#include <string.h>

#define MIN(a, b) ((a) < (b) ? (a) : (b))

size_t rbm_count_on(const uint64_t *bits, size_t rows, size_t words) {
    size_t count = 0;
    for (size_t i = 0; i < rows * words; i++)
        count += (size_t)__builtin_popcountll(bits[i]);
    return count;
}

int rbm_lists_fit(const uint32_t *start, const uint32_t *index, size_t rows, size_t length,
                  size_t units) {
    for (size_t r = 0; r < rows; r++) {
        size_t from = start[r], end = start[r + 1];
        if (from > end || end > length)
            return 0;
        unsigned disordered = 0;
        for (size_t e = from; e + 1 < end; e++)
            disordered |= index[e] >= index[e + 1];
        if (disordered || (from < end && index[end - 1] >= units))
            return 0;
    }
    return 1;
}

int rbm_rows_fit(const int64_t *index, size_t rows, size_t count) {
    int beyond = 0;
    for (size_t r = 0; r < rows; r++)
        beyond |= (uint64_t)index[r] >= count;
    return !beyond;
}

int rbm_bits_fit(const uint64_t *bits, size_t rows, size_t words, size_t units) {
    uint64_t beyond = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t w = units / 64; w < words; w++)
            beyond |= w > units / 64 ? bits[r * words + w] : bits[r * words + w] >> units % 64;
    return !beyond;
}

void rbm_bits_to_floats(const void *args, rbm_worker *me) {
    const rbm_bits_and_floats_args a = *(const rbm_bits_and_floats_args *)args;
    EACH_ROW(me, 8, a.rows, r) {
        float *to = a.floats + r * a.ld;
        for (size_t u = 0; u < a.units; u++)
            to[u] = (float)(a.bits[r * a.words + u / 64] >> u % 64 & 1);
        memset(to + a.units, 0, (a.ld - a.units) * sizeof *to);
    }
}

void rbm_floats_to_bits(const void *args, rbm_worker *me) {
    const rbm_bits_and_floats_args a = *(const rbm_bits_and_floats_args *)args;
    EACH_ROW(me, 8, a.rows, r) {
        uint64_t *to = a.bits + r * a.words;
        memset(to, 0, a.words * sizeof *to);
        for (size_t u = 0; u < a.units; u++)
            to[u / 64] |= (uint64_t)(a.floats[r * a.ld + u] > 0.5f) << u % 64;
    }
}

/* count[u] += rows in which bit u of word w is on. Counters are kept as bit slices (bit u of slice
 * s is bit s of unit u's count), so that a row adds to all 64 at once. */
static void count_word(const uint64_t *bits, size_t rows, size_t words, size_t w, size_t units,
                       uint32_t *count) {
    enum { SLICES = 8, MOST = (1 << SLICES) - 1 };
    for (size_t r = 0; r < rows; r += MOST) {
        uint64_t slice[SLICES] = {0};
        for (size_t i = r; i < r + MOST && i < rows; i++) {
            uint64_t carry = bits[i * words + w];
            for (int s = 0; carry; s++) {
                uint64_t both = slice[s] & carry;
                slice[s] ^= carry;
                carry = both;
            }
        }
        for (size_t u = 0; u < units; u++)
            for (int s = 0; s < SLICES; s++)
                count[u] += (uint32_t)(slice[s] >> u & 1) << s;
    }
}

void rbm_count_by_unit(const uint64_t *bits, size_t rows, size_t words, size_t units,
                       uint32_t *count) {
    memset(count, 0, units * sizeof *count);
    for (size_t w = 0; w * 64 < units; w++)
        count_word(bits, rows, words, w, MIN(units - w * 64, 64), count + w * 64);
}

void rbm_weigh_listed(const uint32_t *start, const uint32_t *index, size_t rows,
                      const float *weight, size_t units, float *out) {
    memset(out, 0, units * sizeof *out);
    for (size_t r = 0; r < rows; r++)
        for (uint32_t e = start[r]; e < start[r + 1]; e++)
            out[index[e]] += weight[r];
}

/* `count` <= 64 bits of a row of `words` from `unit` on. */
static uint64_t get_bits(const uint64_t *row, size_t words, size_t unit, size_t count) {
    size_t word = unit / 64, shift = unit % 64;
    uint64_t bits = row[word] >> shift;
    if (shift && word + 1 < words)
        bits |= row[word + 1] << (64 - shift);
    return count < 64 ? bits & ((UINT64_C(1) << count) - 1) : bits;
}

void rbm_pooled_bits(const void *args, rbm_worker *me) {
    const rbm_pooled_bits_args a = *(const rbm_pooled_bits_args *)args;
    const rbm_pool *maps = &a.maps;
    size_t words = a.words, pool = maps->pool, filters = maps->filters, wide = maps->width / pool;
    size_t positions = maps->height / pool * wide;
    EACH_ROW(me, 8, a.rows, r) {
        const uint64_t *from = a.bits + r * words;
        uint64_t *to = a.out + r * a.out_words;
        memset(to, 0, a.out_words * sizeof *to);
        for (size_t position = 0; position < positions; position++) {
            size_t corner = position / wide * pool * maps->width + position % wide * pool;
            for (size_t k = 0; k < filters; k += 64) {
                size_t count = MIN(filters - k, 64), unit = position * filters + k;
                uint64_t any = 0;
                for (size_t i = 0; i < pool * pool; i++)
                    any |=
                        get_bits(from, words,
                                 (corner + i / pool * maps->width + i % pool) * filters + k, count);
                to[unit / 64] |= any << unit % 64;
                if (unit % 64 && any >> (64 - unit % 64))
                    to[unit / 64 + 1] |= any >> (64 - unit % 64);
            }
        }
    }
}

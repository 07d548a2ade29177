/* Bit states: counting, listing, and the two orders (by row, by unit). */
#include "rbm_kernels.h"
#include "parallel.h"

#include <string.h>

#define MIN(a, b) ((a) < (b) ? (a) : (b))

size_t rbm_count_on(const uint64_t *bits, size_t rows, size_t words) {
    size_t count = 0;
    for (size_t i = 0; i < rows * words; i++)
        count += (size_t)__builtin_popcountll(bits[i]);
    return count;
}

void rbm_list_on(const uint64_t *bits, size_t rows, size_t words, uint32_t *start, uint32_t *index,
                 int threads) {
    start[0] = 0;
    for (size_t r = 0; r < rows; r++)
        start[r + 1] = start[r] + (uint32_t)rbm_count_on(bits + r * words, 1, words);
    PARALLEL_FOR(threads, 16)
    for (size_t r = 0; r < rows; r++) {
        uint32_t *next = index + start[r];
        for (size_t w = 0; w < words; w++)
            for (uint64_t word = bits[r * words + w]; word; word &= word - 1)
                *next++ = (uint32_t)(w * 64 + (size_t)__builtin_ctzll(word));
    }
}

void rbm_bits_to_floats(const uint64_t *bits, size_t rows, size_t words, size_t units,
                        float *floats, size_t ld, int threads) {
    PARALLEL_FOR(threads, 8)
    for (size_t r = 0; r < rows; r++) {
        for (size_t u = 0; u < units; u++)
            floats[r * ld + u] = (float)(bits[r * words + u / 64] >> u % 64 & 1);
        memset(floats + r * ld + units, 0, (ld - units) * sizeof *floats);
    }
}

void rbm_floats_to_bits(const float *floats, size_t rows, size_t units, size_t ld, uint64_t *bits,
                        size_t words, int threads) {
    PARALLEL_FOR(threads, 8)
    for (size_t r = 0; r < rows; r++) {
        memset(bits + r * words, 0, words * sizeof *bits);
        for (size_t u = 0; u < units; u++)
            bits[r * words + u / 64] |= (uint64_t)(floats[r * ld + u] > 0.5f) << u % 64;
    }
}

/* Transpose 64 x 64 bits in place: bit c of word r becomes bit r of word c. Each step swaps
 * off-diagonal blocks of half the size (Warren, Hacker's Delight, section 7-3). */
static void transpose_bits(uint64_t block[64]) {
    uint64_t mask = UINT64_C(0x00000000ffffffff);
    for (int size = 32; size; size >>= 1, mask ^= mask << size)
        for (int r = 0; r < 64; r = (r + size + 1) & ~size) {
            uint64_t swap = ((block[r] >> size) ^ block[r + size]) & mask;
            block[r] ^= swap << size;
            block[r + size] ^= swap;
        }
}

/* block[u] = bits of unit 64 w + u over rows r .. r + 63, zero beyond the last row. */
static void gather_block(const uint64_t *bits, size_t rows, size_t words, size_t w, size_t r,
                         uint64_t block[64]) {
    for (size_t i = 0; i < 64; i++)
        block[i] = r + i < rows ? bits[(r + i) * words + w] : 0;
    transpose_bits(block);
}

void rbm_count_by_unit(const uint64_t *bits, size_t rows, size_t words, size_t units,
                       uint32_t *count, int threads) {
    PARALLEL_FOR(threads, 1)
    for (size_t w = 0; w < (units + 63) / 64; w++) {
        size_t here = MIN(units - w * 64, 64);
        memset(count + w * 64, 0, here * sizeof *count);
        for (size_t r = 0; r < rows; r += 64) {
            uint64_t block[64];
            gather_block(bits, rows, words, w, r, block);
            for (size_t u = 0; u < here; u++)
                count[w * 64 + u] += (uint32_t)__builtin_popcountll(block[u]);
        }
    }
}

static uint32_t *list_bits(uint64_t word, size_t base, uint32_t *next) {
    for (; word; word &= word - 1)
        *next++ = (uint32_t)(base + (size_t)__builtin_ctzll(word));
    return next;
}

void rbm_list_by_unit(const uint64_t *first, size_t first_rows, const uint64_t *second,
                      size_t second_rows, size_t words, size_t units, uint32_t *start,
                      uint32_t *index, int threads) {
    size_t rows = first_rows > second_rows ? first_rows : second_rows;
    /* First how long each list is, then, with the places known, the lists. */
    for (int fill = 0; fill < 2; fill++) {
        PARALLEL_FOR(threads, 1)
        for (size_t w = 0; w < (units + 63) / 64; w++) {
            size_t here = MIN(units - w * 64, 64);
            uint32_t next[64];
            for (size_t u = 0; u < here; u++)
                next[u] = fill ? start[w * 64 + u] : 0;
            for (size_t r = 0; r < rows; r += 64) {
                uint64_t a[64], b[64];
                gather_block(first, first_rows, words, w, r, a);
                if (second_rows)
                    gather_block(second, second_rows, words, w, r, b);
                else
                    memset(b, 0, sizeof b);
                for (size_t u = 0; u < here; u++) {
                    uint32_t count = (uint32_t)__builtin_popcountll(a[u] | b[u]);
                    if (fill) {
                        uint32_t *to = index + next[u];
                        to = list_bits(a[u] & ~b[u], r, to);
                        to = list_bits(b[u] & ~a[u], first_rows + r, to);
                        list_bits(a[u] & b[u], first_rows + second_rows + r, to);
                    }
                    next[u] += count;
                }
            }
            if (!fill)
                memcpy(start + w * 64 + 1, next, here * sizeof *next);
        }
        if (!fill) {
            start[0] = 0;
            for (size_t u = 0; u < units; u++)
                start[u + 1] += start[u];
        }
    }
}

/* Bit states by unit: in which rows a unit is on. */

/* Transpose 64 x 64 bits in place: bit c of word r becomes bit r of word c. Each step swaps
 * off-diagonal blocks of half the size (Warren, Hacker's Delight, section 7-3). */
INLINE void transpose_bits(uint64_t block[64]) {
    uint64_t mask = UINT64_C(0x00000000ffffffff);
    for (size_t size = 32; size; size >>= 1, mask ^= mask << size)
        for (size_t from = 0; from < 64; from += 2 * size)
            for (size_t r = from; r < from + size; r++) {
                uint64_t swap = ((block[r] >> size) ^ block[r + size]) & mask;
                block[r] ^= swap << size;
                block[r + size] ^= swap;
            }
}

/* block[u] = bits of unit 64 w + u over rows r .. r + 63, zero beyond the last row. */
INLINE void gather_block(const rbm_phase *phase, size_t w, size_t r, uint64_t block[64]) {
    size_t rows = r < phase->rows ? phase->rows - r : 0;
    for (size_t i = 0; i < 64; i++)
        block[i] = i < rows ? phase->visible[(r + i) * phase->words + w] : 0;
    if (rows)
        transpose_bits(block);
}

/* For each of the `here` units of word w, the rows of the stack (stack_rows) that its gradient is
 * the sum of: index[u * stride] and the next, count[u] of them, in the order of the phases' rows;
 * stride is the number of rows of the larger phase. In on[p], where it is given, in how many rows
 * of phase p the unit is on. */
static void list_word(const rbm_phase *first, const rbm_phase *second, size_t stride, size_t w,
                      size_t here, uint32_t *count, uint32_t *index, uint32_t on[2][64]) {
    /* Where row r of the stack begins, by whether the unit is on in first (1) and second (2). */
    const size_t base[4] = {0, 0, first->rows, first->rows + second->rows};
    uint32_t listed[64] = {0};
    for (size_t r = 0; r < stride; r += 64) {
        uint64_t a[64], b[64];
        gather_block(first, w, r, a);
        gather_block(second, w, r, b);
        for (size_t u = 0; u < here; u++) {
            uint32_t *to = index + (w * 64 + u) * stride + listed[u];
            for (uint64_t rows = a[u] | b[u]; rows; rows &= rows - 1) {
                size_t row = (size_t)__builtin_ctzll(rows);
                *to++ = (uint32_t)(base[(a[u] >> row & 1) | (b[u] >> row & 1) << 1] + r + row);
            }
            listed[u] += (uint32_t)__builtin_popcountll(a[u] | b[u]);
            if (on) {
                on[0][u] += (uint32_t)__builtin_popcountll(a[u]);
                on[1][u] += (uint32_t)__builtin_popcountll(b[u]);
            }
        }
    }
    memcpy(count + w * 64, listed, here * sizeof *count);
}

INLINE size_t larger_phase(const rbm_phase *first, const rbm_phase *second) {
    return first->rows > second->rows ? first->rows : second->rows;
}

INLINE size_t units_of_word(size_t units, size_t w) {
    return units - w * 64 < 64 ? units - w * 64 : 64;
}

/* The lists of all units. Threads do not meet. */
static void list_units(const rbm_phase *first, const rbm_phase *second, size_t units,
                       uint32_t *count, uint32_t *index, rbm_worker *me) {
    EACH(me, 1, (units + 63) / 64, w)
    list_word(first, second, larger_phase(first, second), w, units_of_word(units, w), count, index,
              NULL);
}

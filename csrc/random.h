/* Philox 4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"),
 * LANES / 2 blocks at a time, and images drawn to binary states with it. */

#define DRAWN (2 * LANES) /* units that one call of philox serves */

/* Words of units unit .. unit + DRAWN - 1 of a row, in order; unit is a multiple of 4. */
INLINE void philox(const rbm_draw *draw, uint32_t row, uint32_t unit, vword out[2]) {
    vpair c0, c1 = (vpair){0} + (draw->row0 + row), c2 = (vpair){0} + draw->substep,
              c3 = (vpair){0} + draw->step;
    for (int lane = 0; lane < LANES / 2; lane++)
        c0[lane] = unit / 4 + (uint32_t)lane;
    const vpair m0 = (vpair){0} + 0xD2511F53u, m1 = (vpair){0} + 0xCD9E8D57u;
    uint32_t k0 = draw->key[0], k1 = draw->key[1];
    /* Only the low halves of the lanes are defined; multiply_low reads no more. */
    for (int round = 0; round < 10; round++) {
        vpair p0 = multiply_low(c0, m0), p1 = multiply_low(c2, m1);
        c0 = (p1 >> 32) ^ c1 ^ k0;
        c1 = p1;
        c2 = (p0 >> 32) ^ c3 ^ k1;
        c3 = p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    vpair even = (c0 & 0xffffffffu) | (c1 << 32), odd = (c2 & 0xffffffffu) | (c3 << 32);
    out[0] = (vword)INTERLEAVE_LOW_PAIRS(even, odd);
    out[1] = (vword)INTERLEAVE_HIGH_PAIRS(even, odd);
}

/* The top 24 bits of a random word as a float in [0, 1). */
INLINE vfloat uniform(vword word) {
    return __builtin_convertvector((vint)(word >> 8), vfloat) * splat(0x1p-24f);
}

static void random_words(const rbm_draw *draw, size_t rows, size_t units, uint32_t *out) {
    for (size_t r = 0; r < rows; r++)
        for (size_t u = 0; u < units; u += DRAWN) {
            vword words[2];
            philox(draw, (uint32_t)r, (uint32_t)u, words);
            size_t count = units - u < DRAWN ? units - u : DRAWN;
            memcpy(out + r * units + u, words, count * sizeof *out);
        }
}

/* Compare DRAWN probabilities with uniforms; one bit per unit. */
INLINE uint32_t draw_bits(const rbm_draw *draw, size_t row, size_t unit, vfloat low, vfloat high) {
    vword words[2];
    philox(draw, (uint32_t)row, (uint32_t)unit, words);
    return lane_bits(uniform(words[0]) < low) | lane_bits(uniform(words[1]) < high) << LANES;
}

/* Put the bits of units unit .. unit + DRAWN - 1 into a row; a row's words cover whole groups. */
INLINE void put_bits(uint64_t *row, size_t unit, uint32_t bits) {
    memcpy((char *)row + unit / 8, &bits, DRAWN / 8);
}

INLINE void clear_bits_beyond(uint64_t *row, size_t units, size_t words) {
    size_t whole = (units + DRAWN - 1) / DRAWN * (DRAWN / 8);
    memset((char *)row + whole, 0, words * 8 - whole);
    if (units % 64)
        row[units / 64] &= (UINT64_C(1) << units % 64) - 1;
}

#define BINARIZE(name, type)                                                                       \
    static void name(const type *images, size_t units, const int64_t *index, size_t rows,          \
                     float scale, enum rbm_binarize how, float threshold, const rbm_draw *draw,    \
                     uint64_t *bits, size_t words, int threads) {                                  \
        PARALLEL_FOR(threads, 8)                                                                      \
        for (size_t r = 0; r < rows; r++) {                                                        \
            const type *image = images + (size_t)index[r] * units;                                 \
            uint64_t *row = bits + r * words;                                                      \
            for (size_t u = 0; u < units; u += DRAWN) {                                            \
                type group[DRAWN] = {0};                                                           \
                memcpy(group, image + u,                                                           \
                       (units - u < DRAWN ? units - u : DRAWN) * sizeof *group);                   \
                float values[DRAWN];                                                               \
                for (int i = 0; i < DRAWN; i++)                                                    \
                    values[i] = (float)group[i] / scale;                                           \
                vfloat low = load(values), high = load(values + LANES);                            \
                uint32_t on;                                                                       \
                if (how == RBM_THRESHOLD)                                                          \
                    on = lane_bits(low > splat(threshold)) |                                       \
                         lane_bits(high > splat(threshold)) << LANES;                              \
                else                                                                               \
                    on = draw_bits(draw, r, u, low, high);                                         \
                put_bits(row, u, on);                                                              \
            }                                                                                      \
            clear_bits_beyond(row, units, words);                                                  \
        }                                                                                          \
    }

BINARIZE(binarize_u8, uint8_t)
BINARIZE(binarize_f32, float)

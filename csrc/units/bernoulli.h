/* Bernoulli units: on with probability sigmoid(x). */

/* The means of the 64 units of group w, of which a row has those below `ld`; where `mean` is given,
 * also written there. */
INLINE void bernoulli_means(const float *total, float *mean, size_t w, size_t ld, vfloat *p) {
    const float *from = total + w * 64;
    if (ld - w * 64 >= 64)
        for (size_t i = 0; i < 64 / LANES; i++)
            p[i] = sigmoid(load(from + i * LANES));
    else
        for (size_t i = 0; i < 64 / LANES; i++)
            p[i] = w * 64 + i * LANES < ld ? sigmoid(load(from + i * LANES)) : (vfloat){0};
    if (mean)
        for (size_t i = 0; i < 64 / LANES && w * 64 + i * LANES < ld; i++)
            store(mean + w * 64 + i * LANES, p[i]);
}

INLINE uint64_t bernoulli_group(const stream *s, size_t row, size_t w, const vfloat *p) {
    vint digits[64 / LANES];
    uint64_t ties;
    for (size_t i = 0; i < 64 / LANES; i++)
        digits[i] = first_digits(p[i]);
    uint64_t on = draw_group(s, row, w, digits, &ties);
    if (ties) {
        float values[64];
        for (size_t i = 0; i < 64 / LANES; i++)
            store(values + i * LANES, p[i]);
        for (; ties; ties &= ties - 1) {
            size_t i = (size_t)__builtin_ctzll(ties);
            on |= (uint64_t)break_tie(s, row, w * 64 + i, values[i]) << i;
        }
    }
    return on;
}

static void bernoulli(const void *args, rbm_worker *me) {
    const rbm_units_args a = *(const rbm_units_args *)args;
    const stream s = open_stream(&a.draw);
    uint64_t *bits = a.states;
    EACH(me, 8, a.rows, r) {
        float *mean = a.mean ? a.mean + r * a.ld : NULL;
        for (size_t w = 0; w * 64 < a.units; w++) {
            vfloat p[64 / LANES];
            bernoulli_means(a.total + r * a.ld, mean, w, a.ld, p);
            if (bits)
                bits[r * a.words + w] = bernoulli_group(&s, r, w, p);
        }
        if (mean)
            memset(mean + a.units, 0, (a.ld - a.units) * sizeof *mean);
        if (bits)
            clear_bits_beyond(bits + r * a.words, a.units, a.words);
    }
}

CUMULANT(bernoulli_cumulant, softplus)

/* Bernoulli units: on with probability sigmoid(x). */

#ifdef KIND
KIND("bernoulli", .bits = 1, .units = bernoulli, .cumulant = bernoulli_cumulant,
     .cumulant_change = bernoulli_cumulant_change)
#else

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
    EACH_ROW(me, 8, a.rows, r) {
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

/* log(1 + exp(a)) - log(1 + exp(b)) for a = after x and b = before x, after and before being
 * positive, is (after - before) max(x, 0) + log((1 + y) / (1 + z)) with y = exp(-|a|), z =
 * exp(-|b|); and that logarithm is 2 artanh(s), s = (y - z) / (2 + y + z).
 *
 * Temperatures lie close: y = z exp(-d), d = (after - before) |x|, and y - z = z (exp(-d) - 1) by
 * the series of that, which has all digits for |d| <= 1/4. Then |s| < 1/8. */
INLINE vfloat softplus_change(float after, float before, vfloat x) {
    const vfloat change = splat(after - before);
    vfloat size = magnitude(x), d = -change * size, linear = change * at_least(x, 0.0f);
    vfloat z = decay(splat(-before) * size);
    vfloat series = splat(1.0f / 5040) * d + splat(1.0f / 720);
    series = term(series, d, splat(1.0f / 120));
    series = term(series, d, splat(1.0f / 24));
    series = term(series, d, splat(1.0f / 6));
    series = term(series, d, splat(1.0f / 2));
    series = term(series, d, splat(1.0f));
    vfloat less = z * (series * d), s = less / (splat(2.0f) + z + (z + less)), t = s * s;
    vfloat p = splat(1.0f / 7) * t + splat(1.0f / 5);
    p = term(p, t, splat(1.0f / 3));
    p = term(p, t, splat(1.0f));
    vfloat near = splat(2.0f) * s * p;
    vint far = magnitude(d) > splat(0.25f);
    if (lane_bits(far)) {
        vfloat y = decay(splat(-after) * size);
        near = choose(far, twice_artanh((y - z) / (splat(2.0f) + y + z)), near);
    }
    return linear + near;
}

static void bernoulli_cumulant_change(const void *args, rbm_worker *me) {
    const rbm_cumulant_change_args a = *(const rbm_cumulant_change_args *)args;
    const float before = a.beta[0], after = a.beta[1];
    EACH_ROW(me, 8, a.rows, r) {
        /* As many sums on every instruction set. Columns beyond the units are 0: no change. */
        double sums[RBM_PAD] = {0}, sum = 0;
        for (size_t u = 0; u < a.units; u += RBM_PAD) {
            float values[RBM_PAD];
            for (size_t i = 0; i < RBM_PAD; i += LANES) {
                vfloat x = load(a.total + r * a.ld + u + i);
                store(values + i, softplus_change(after, before, x));
            }
            for (size_t i = 0; i < RBM_PAD; i++)
                sums[i] += values[i];
        }
        for (size_t i = 0; i < RBM_PAD; i++)
            sum += sums[i];
        a.out[r] += a.weight * sum;
    }
}

#endif

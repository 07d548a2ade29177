/* Unit kinds: for each, its mean, its sample and its cumulant (log-partition function). */

/* exp(x) for x in [-87, 88], to about one unit in the last place: x = n ln 2 + r, a polynomial in
 * r, and n added to the exponent. */
INLINE vfloat exponential(vfloat x) {
    const vfloat shift = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    vfloat shifted = x * splat(1.44269504f) + shift;
    vfloat n = shifted - shift;
    vfloat r = x - n * splat(0.693359375f);
    r = r + n * splat(2.12194440e-4f);
    vfloat p = splat(1.9875691500e-4f);
    p = p * r + splat(1.3981999507e-3f);
    p = p * r + splat(8.3334519073e-3f);
    p = p * r + splat(4.1665795894e-2f);
    p = p * r + splat(1.6666665459e-1f);
    p = p * r + splat(5.0000001201e-1f);
    p = p * r * r + r + splat(1.0f);
    vint power = ((vint)shifted - (vint)shift) << 23;
    return (vfloat)((vint)p + power);
}

INLINE vfloat sigmoid(vfloat x) {
    vfloat bounded = at_most(at_least(x, -87.0f), 87.0f);
    return splat(1.0f) / (splat(1.0f) + exponential(-bounded));
}

/* log(1 + exp(x)) = max(x, 0) + log1p(y) with y = exp(-|x|) in (0, 1], and log1p(y) as
 * 2 artanh(s), s = y / (2 + y) <= 1/3, whose series converges fast. */
INLINE vfloat softplus(vfloat x) {
    vfloat positive = at_least(x, 0.0f), magnitude = at_least(x, 0.0f) - at_most(x, 0.0f);
    vfloat y = exponential(-at_most(magnitude, 87.0f));
    vfloat s = y / (splat(2.0f) + y), t = s * s;
    vfloat p = splat(1.0f / 15);
    p = p * t + splat(1.0f / 13);
    p = p * t + splat(1.0f / 11);
    p = p * t + splat(1.0f / 9);
    p = p * t + splat(1.0f / 7);
    p = p * t + splat(1.0f / 5);
    p = p * t + splat(1.0f / 3);
    p = p * t + splat(1.0f);
    return positive + splat(2.0f) * s * p;
}

/* DRAWN Bernoulli units: means in place of the totals; the bits, drawn if asked for. */
INLINE uint32_t bernoulli_group(const float *total, float *mean, int sample, const stream *s,
                                size_t row, size_t unit) {
    vfloat low = sigmoid(load(total)), high = sigmoid(load(total + LANES));
    if (mean) {
        store(mean, low);
        store(mean + LANES, high);
    }
    return sample ? draw_bits(s, row, unit, low, high) : 0;
}

static void bernoulli(const float *total, size_t rows, size_t units, size_t ld, float *mean,
                      uint64_t *bits, size_t words, const rbm_draw *draw, int threads) {
    const stream s = open_stream(draw);
    PARALLEL_FOR(threads, 8, rows * units)
    for (size_t r = 0; r < rows; r++) {
        const float *in = total + r * ld;
        float *out = mean ? mean + r * ld : NULL;
        uint64_t *row = bits ? bits + r * words : NULL;
        size_t u = 0;
        for (; u + DRAWN <= units; u += DRAWN) {
            uint32_t on = bernoulli_group(in + u, out ? out + u : NULL, bits != NULL, &s, r, u);
            if (row)
                put_bits(row, u, on);
        }
        if (u < units) {
            float group[DRAWN] = {0}, means[DRAWN];
            memcpy(group, in + u, (units - u) * sizeof *group);
            uint32_t on = bernoulli_group(group, means, bits != NULL, &s, r, u);
            if (row)
                put_bits(row, u, on);
            if (out)
                memcpy(out + u, means, (units - u) * sizeof *means);
        }
        if (out)
            memset(out + units, 0, (ld - units) * sizeof *out);
        if (row)
            clear_bits_beyond(row, units, words);
    }
}

static void bernoulli_cumulant(const float *total, size_t rows, size_t units, size_t ld,
                               float scale, double weight, double *out, int threads) {
    PARALLEL_FOR(threads, 8, rows * units)
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
        for (size_t u = 0; u < units; u += LANES) {
            float values[LANES];
            store(values, softplus(splat(scale) * load(total + r * ld + u)));
            for (size_t i = 0; i < LANES && u + i < units; i++)
                sum += values[i];
        }
        out[r] += weight * sum;
    }
}

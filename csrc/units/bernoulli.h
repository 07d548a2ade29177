/* Bernoulli units: on with probability sigmoid(x). */

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

static void bernoulli(const void *args, rbm_worker *me) {
    const rbm_units_args a = *(const rbm_units_args *)args;
    const stream s = open_stream(&a.draw);
    uint64_t *bits = a.states;
    size_t units = a.units, ld = a.ld, words = a.words;
    EACH(me, 8, a.rows, r) {
        const float *in = a.total + r * ld;
        float *out = a.mean ? a.mean + r * ld : NULL;
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

CUMULANT(bernoulli_cumulant, softplus)

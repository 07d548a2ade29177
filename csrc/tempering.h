/* From one inverse temperature to the next. */

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
    series = series * d + splat(1.0f / 120);
    series = series * d + splat(1.0f / 24);
    series = series * d + splat(1.0f / 6);
    series = series * d + splat(1.0f / 2);
    series = series * d + splat(1.0f);
    vfloat less = z * (series * d), s = less / (splat(2.0f) + z + (z + less)), t = s * s;
    vfloat p = splat(1.0f / 7) * t + splat(1.0f / 5);
    p = p * t + splat(1.0f / 3);
    p = p * t + splat(1.0f);
    vfloat near = splat(2.0f) * s * p;
    vint far = magnitude(d) > splat(0.25f);
    if (lane_bits(far)) {
        vfloat y = decay(splat(-after) * size);
        near = choose(far, twice_artanh((y - z) / (splat(2.0f) + y + z)), near);
    }
    return linear + near;
}

static void temper(const void *args, rbm_worker *me) {
    const rbm_temper_args a = *(const rbm_temper_args *)args;
    EACH(me, 8, a.rows, r) {
        float beta = a.beta[a.each ? r : 0];
        for (size_t c = 0; c < a.ld; c += LANES) {
            float *at = a.total + r * a.ld + c;
            vfloat x = splat(beta) * load(at);
            if (a.reference)
                x += splat(1 - beta) * load(a.reference + c);
            store(at, x);
        }
    }
}

static void bernoulli_cumulant_change(const void *args, rbm_worker *me) {
    const rbm_cumulant_change_args a = *(const rbm_cumulant_change_args *)args;
    const float before = a.beta[0], after = a.beta[1];
    EACH(me, 8, a.rows, r) {
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

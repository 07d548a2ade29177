/* From one inverse temperature to the next. */

/* log(1 + exp(a)) - log(1 + exp(b)) = max(a, 0) - max(b, 0) + log((1 + y) / (1 + z)) with
 * y = exp(-|a|), z = exp(-|b|), and that logarithm as 2 artanh(s), s = (y - z) / (2 + y + z) within
 * [-1/3, 1/3]: precise where a and b are close. */
INLINE vfloat softplus_change(vfloat a, vfloat b) {
    vfloat above = at_least(a, 0.0f), from = at_least(b, 0.0f);
    vfloat y = exponential(at_least(at_most(a, 0.0f) - above, -87.0f));
    vfloat z = exponential(at_least(at_most(b, 0.0f) - from, -87.0f));
    return above - from + twice_artanh((y - z) / (splat(2.0f) + y + z));
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
    const vfloat before = splat(a.beta[0]), after = splat(a.beta[1]);
    EACH(me, 8, a.rows, r) {
        /* As many sums on every instruction set. Columns beyond the units are 0: no change. */
        double sums[RBM_PAD] = {0}, sum = 0;
        for (size_t u = 0; u < a.units; u += RBM_PAD) {
            float values[RBM_PAD];
            for (size_t i = 0; i < RBM_PAD; i += LANES) {
                vfloat x = load(a.total + r * a.ld + u + i);
                store(values + i, softplus_change(after * x, before * x));
            }
            for (size_t i = 0; i < RBM_PAD; i++)
                sums[i] += values[i];
        }
        for (size_t i = 0; i < RBM_PAD; i++)
            sum += sums[i];
        a.out[r] += a.weight * sum;
    }
}

/* Rectified units: infinitely many Bernoulli replicas, with biases lower by 1/2, 3/2, 5/2, ....
 *
 * With E = exp(x - 1/2) the mean is the sum over i >= 0 of E e^-i / (1 + E e^-i), and the cumulant
 * that of log(1 + E e^-i). For x <= 0 the first three terms are summed as they are, and the rest by
 * their power series in y = E e^-3 < 0.031, whose coefficients are the sums of e^-ik over i,
 * 1 / (1 - e^-k). For x > 0 the reflections
 *     mean(x) = x + mean(-x),  cumulant(x) = x^2 / 2 + pi^2 / 6 - 1 / 24 - cumulant(-x)
 * hold, by Jacobi's triple product, to 4 pi exp(-2 pi^2) < 4e-8: no rounding error of float32. */

#ifdef KIND
KIND("nrelu", .units = nrelu, .cumulant = nrelu_cumulant)
KIND("nrelu:exact", .units = nrelu_exact, .cumulant = nrelu_cumulant)
#else

#define E_MINUS_HALF 0.606530660f
#define E_MINUS_1 0.367879441f
#define E_MINUS_2 0.135335283f
#define E_MINUS_3 0.0497870684f

/* 1 / (1 - e^-k), k = 1 .. 5 */
#define SERIES_1 1.58197671f
#define SERIES_2 1.15651764f
#define SERIES_3 1.05239570f
#define SERIES_4 1.01865736f
#define SERIES_5 1.00678365f

INLINE vfloat odds_to_probability(vfloat odds) {
    return odds / (splat(1.0f) + odds);
}

INLINE vfloat nrelu_mean(vfloat x, size_t n) {
    (void)n;
    vfloat e = decay(-magnitude(x)) * splat(E_MINUS_HALF), y = e * splat(E_MINUS_3);
    vfloat rest = splat(SERIES_5);
    rest = splat(SERIES_4) - rest * y;
    rest = splat(SERIES_3) - rest * y;
    rest = splat(SERIES_2) - rest * y;
    rest = splat(SERIES_1) - rest * y;
    rest = rest * y + odds_to_probability(e * splat(E_MINUS_2));
    rest = rest + odds_to_probability(e * splat(E_MINUS_1));
    return at_least(x, 0.0f) + (rest + odds_to_probability(e));
}

INLINE vfloat nrelu_value(vfloat x) {
    vfloat e = decay(-magnitude(x)) * splat(E_MINUS_HALF), y = e * splat(E_MINUS_3);
    vfloat rest = splat(SERIES_5 / 5);
    rest = splat(SERIES_4 / 4) - rest * y;
    rest = splat(SERIES_3 / 3) - rest * y;
    rest = splat(SERIES_2 / 2) - rest * y;
    rest = splat(SERIES_1) - rest * y;
    rest = rest * y + log_one_plus(e * splat(E_MINUS_2));
    rest = rest + log_one_plus(e * splat(E_MINUS_1));
    rest = rest + log_one_plus(e);
    return choose(x > 0, splat(0.5f) * x * x + (splat(1.60326740f) - rest), rest);
}

/* As the paper draws: max(0, x + N(0, sigmoid(x))). */
INLINE vfloat nrelu_draw(vfloat x, vword word, size_t n) {
    (void)n;
    return at_least(x + square_root(sigmoid(x)) * normal(word), 0.0f);
}

/* The number n of replicas that are on, of probability proportional to
 *     exp(n x - n^2 / 2) / product over k <= n of (1 - e^-k),
 * which is about normal around x with variance 1, or less: by inversion within six of x. */
INLINE vfloat nrelu_count(vfloat x, vword word, size_t n) {
    enum { REACH = 6, COUNTS = 2 * REACH + 1 };
    static const float shrink[COUNTS - 1] = {
        1.0f,           E_MINUS_1,      E_MINUS_2,      E_MINUS_3,
        1.83156389e-2f, 6.73794700e-3f, 2.47875218e-3f, 9.11881966e-4f,
        3.35462628e-4f, 1.23409804e-4f, 4.53999298e-5f, 1.67017008e-5f,
    };
    (void)n;
    vfloat whole = at_least(x, 0.0f) + splat(0x1p23f) - splat(0x1p23f);
    vfloat first = at_least(whole - splat(REACH), 0.0f);
    /* p(m + 1) / p(m) = exp(x - m - 1/2) / (1 - exp(-m - 1)) */
    vfloat rise = exponential(at_least(x - first - splat(0.5f), -87.0f));
    vfloat tail = decay(-first - splat(1.0f));
    vfloat sum[COUNTS], weight = splat(1.0f);
    sum[0] = weight;
    for (int i = 0; i < COUNTS - 1; i++) {
        weight *= rise * splat(shrink[i]) / (splat(1.0f) - tail * splat(shrink[i]));
        sum[i + 1] = sum[i] + weight;
    }
    vfloat step = __builtin_convertvector((vint)(word >> 8), vfloat) + splat(0.5f);
    vfloat threshold = at_most(step * splat(0x1p-24f), 1 - 0x1p-24f) * sum[COUNTS - 1];
    vint count = {0};
    for (int i = 0; i < COUNTS - 1; i++)
        count -= sum[i] <= threshold;
    return first + __builtin_convertvector(count, vfloat);
}

FLOAT_UNITS(nrelu, nrelu_mean, nrelu_draw)
FLOAT_UNITS(nrelu_exact, nrelu_mean, nrelu_count)
CUMULANT(nrelu_cumulant, nrelu_value)

#endif

/* Binomial units: how many of n Bernoulli replicas are on. Their cumulant is n times that of one.
 */

#ifdef KIND
KIND("binomial", .most = 255, .units = binomial, .cumulant = binomial_cumulant,
     .cumulant_change = binomial_cumulant_change)
#else

INLINE vfloat binomial_mean(vfloat x, size_t n) {
    return splat((float)n) * sigmoid(x);
}

/* The number of k = 0 .. n - 1 whose cumulative probability lies at or below the uniform, for
 * odds p / (1 - p) <= 1. Probabilities are divided by that of 0, (1 + odds)^-n, which is as small
 * as 2^-255: hence float64, in which all of them have their place. */
INLINE vdouble count_by_inversion(vdouble odds, vdouble uniform, size_t n) {
    vdouble one = (vdouble){0} + 1, threshold = uniform, power = one + odds;
    for (size_t bits = n; bits; bits >>= 1, power *= power)
        if (bits & 1)
            threshold *= power;
    vdouble weight = one, sum = one;
    vlong count = {0};
    for (size_t k = 0; k < n; k++) {
        vlong reached = sum <= threshold;
        if (!lane_bits((vint)reached))
            break; /* sums only grow */
        count -= reached;
        weight *= odds * ((double)(n - k) / (double)(k + 1));
        sum += weight;
    }
    return __builtin_convertvector(count, vdouble);
}

/* Where more than half of the replicas are likely on, those that are off are counted. */
INLINE vfloat binomial_draw(vfloat x, vword word, size_t n) {
    vint likely = x > 0, step = (vint)(word >> 8);
    step = (likely & (0xffffff - step)) | (~likely & step);
    vfloat odds = decay(-magnitude(x)), count;
    for (size_t half = 0; half < 2; half++) {
        vhalf part;
        vhalfint steps;
        memcpy(&part, (char *)&odds + half * sizeof part, sizeof part);
        memcpy(&steps, (char *)&step + half * sizeof steps, sizeof steps);
        vdouble middle = (__builtin_convertvector(steps, vdouble) + 0.5) * 0x1p-24;
        vdouble found = count_by_inversion(__builtin_convertvector(part, vdouble), middle, n);
        part = __builtin_convertvector(found, vhalf);
        memcpy((char *)&count + half * sizeof part, &part, sizeof part);
    }
    return choose(likely, splat((float)n) - count, count);
}

FLOAT_UNITS(binomial, binomial_mean, binomial_draw)

static void binomial_cumulant(const void *args, rbm_worker *me) {
    rbm_cumulant_args of_one = *(const rbm_cumulant_args *)args;
    of_one.weight *= (double)of_one.n;
    bernoulli_cumulant(&of_one, me);
}

static void binomial_cumulant_change(const void *args, rbm_worker *me) {
    rbm_cumulant_change_args of_one = *(const rbm_cumulant_change_args *)args;
    of_one.weight *= (double)of_one.n;
    bernoulli_cumulant_change(&of_one, me);
}

#endif

/* Spins: -1 or 1, this with probability sigmoid(2 x). */

#ifdef KIND
KIND("spin", .units = spin, .cumulant = spin_cumulant)
#else

/* tanh(x), near 0 by Lambert's continued fraction, x / (1 + x^2 / (3 + x^2 / (5 + ...))). */
INLINE vfloat spin_mean(vfloat x, size_t n) {
    (void)n;
    vfloat square = x * x, below = splat(11.0f);
    for (float odd = 9; odd > 0; odd -= 2)
        below = splat(odd) + square / below;
    return choose(magnitude(x) < 1.0f, x / below, splat(2.0f) * sigmoid(x + x) - splat(1.0f));
}

INLINE vfloat spin_draw(vfloat x, vword word, size_t n) {
    (void)n;
    return choose(uniform(word) < splat(1.0f) - sigmoid(x + x), splat(-1.0f), splat(1.0f));
}

/* log(2 cosh x) */
INLINE vfloat spin_value(vfloat x) {
    vfloat size = magnitude(x);
    return size + log_one_plus(decay(splat(-2.0f) * size));
}

FLOAT_UNITS(spin, spin_mean, spin_draw)
CUMULANT(spin_cumulant, spin_value)

#endif

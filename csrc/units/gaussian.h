/* Gaussian units of unit variance: normal with mean x. */

#ifdef KIND
KIND("gaussian", .units = gaussian, .cumulant = gaussian_cumulant)
#else

INLINE vfloat gaussian_mean(vfloat x, size_t n) {
    (void)n;
    return x;
}

INLINE vfloat gaussian_draw(vfloat x, vword word, size_t n) {
    (void)n;
    return x + normal(word);
}

/* x^2 / 2 + log(2 pi) / 2. */
INLINE vfloat gaussian_value(vfloat x) {
    return splat(0.5f) * x * x + splat(0.918938533f);
}

FLOAT_UNITS(gaussian, gaussian_mean, gaussian_draw)
CUMULANT(gaussian_cumulant, gaussian_value)

#endif

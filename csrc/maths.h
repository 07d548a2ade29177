/* Functions of vectors that unit kinds share. */

/* p x + c, rounded once: a term of a polynomial. There are many, and a call where this takes many
 * instructions. */
#ifdef EMULATED_MULTIPLY_ADD
static __attribute__((noinline)) vfloat term(vfloat p, vfloat x, vfloat c) {
#else
INLINE vfloat term(vfloat p, vfloat x, vfloat c) {
#endif
    return multiply_add(p, x, c);
}

/* exp(x) for x in [-87, 88], to about one unit in the last place: x = n ln 2 + r, a polynomial in
 * r, and n added to the exponent. */
INLINE vfloat exponential(vfloat x) {
    const vfloat shift = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    vfloat shifted = term(x, splat(1.44269504f), shift);
    vfloat n = shifted - shift;
    vfloat r = term(n, splat(-0.693359375f), x);
    r = term(n, splat(2.12194440e-4f), r);
    vfloat p = splat(1.9875691500e-4f);
    p = term(p, r, splat(1.3981999507e-3f));
    p = term(p, r, splat(8.3334519073e-3f));
    p = term(p, r, splat(4.1665795894e-2f));
    p = term(p, r, splat(1.6666665459e-1f));
    p = term(p, r, splat(5.0000001201e-1f));
    p = term(p, r * r, r) + splat(1.0f);
    vint power = ((vint)shifted - (vint)shift) << 23;
    return (vfloat)((vint)p + power);
}

/* |x|, and a NaN where x is one. */
INLINE vfloat magnitude(vfloat x) {
    return at_least(x, 0.0f) - at_most(x, 0.0f);
}

/* exp(x) for x <= 0, as at -87 below that. */
INLINE vfloat decay(vfloat x) {
    return exponential(at_least(x, -87.0f));
}

INLINE vfloat sigmoid(vfloat x) {
    vfloat bounded = at_most(at_least(x, -87.0f), 87.0f);
    return splat(1.0f) / (splat(1.0f) + exponential(-bounded));
}

/* 2 artanh(s) for |s| <= 1/3, by its series, which converges fast there. */
INLINE vfloat twice_artanh(vfloat s) {
    vfloat t = s * s;
    vfloat p = splat(1.0f / 15);
    p = term(p, t, splat(1.0f / 13));
    p = term(p, t, splat(1.0f / 11));
    p = term(p, t, splat(1.0f / 9));
    p = term(p, t, splat(1.0f / 7));
    p = term(p, t, splat(1.0f / 5));
    p = term(p, t, splat(1.0f / 3));
    p = term(p, t, splat(1.0f));
    return splat(2.0f) * s * p;
}

/* log(1 + y) for y in [0, 1]. */
INLINE vfloat log_one_plus(vfloat y) {
    return twice_artanh(y / (splat(2.0f) + y));
}

/* log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)). */
INLINE vfloat softplus(vfloat x) {
    return at_least(x, 0.0f) + log_one_plus(decay(-magnitude(x)));
}

/* log(x) for finite x >= 2^-126 (or a NaN): x = m 2^e with m between sqrt(1/2) and sqrt(2). */
INLINE vfloat logarithm(vfloat x) {
    const int32_t root_half = 0x3f3504f3;
    vint e = ((vint)x - root_half) >> 23;
    vfloat m = (vfloat)((vint)x - (e << 23)), n = __builtin_convertvector(e, vfloat);
    vfloat of_m = twice_artanh((m - splat(1.0f)) / (m + splat(1.0f)));
    vfloat result = n * splat(0.693359375f) + (of_m - n * splat(2.12194440e-4f));
    return choose(x != x, x, result);
}

/* A standard normal draw by inversion of (k + 1/2) 2^-24, k being the top 24 bits of a word:
 * sqrt(2) erfinv(s) with s = (2k + 1) 2^-24 - 1, erfinv(s) / s being a polynomial in
 * w = -log(1 - s^2), or beyond w = 5 in its root (Giles 2010, "Approximating the erfinv function",
 * single precision). */
INLINE vfloat normal(vword word) {
    vint odd = (vint)(word >> 8) * 2 + 1 - (1 << 24);
    vfloat s = __builtin_convertvector(odd, vfloat) * splat(0x1p-24f);
    vfloat w = -logarithm((splat(1.0f) - s) * (splat(1.0f) + s));
    vfloat near = w - splat(2.5f), far = square_root(at_least(w, 0.0f)) - splat(3.0f);
    vfloat p = splat(2.81022636e-08f);
    p = term(p, near, splat(3.43273939e-07f));
    p = term(p, near, splat(-3.5233877e-06f));
    p = term(p, near, splat(-4.39150654e-06f));
    p = term(p, near, splat(0.00021858087f));
    p = term(p, near, splat(-0.00125372503f));
    p = term(p, near, splat(-0.00417768164f));
    p = term(p, near, splat(0.246640727f));
    p = term(p, near, splat(1.50140941f));
    vfloat q = splat(-0.000200214257f);
    q = term(q, far, splat(0.000100950558f));
    q = term(q, far, splat(0.00134934322f));
    q = term(q, far, splat(-0.00367342844f));
    q = term(q, far, splat(0.00573950773f));
    q = term(q, far, splat(-0.0076224613f));
    q = term(q, far, splat(0.00943887047f));
    q = term(q, far, splat(1.00167406f));
    q = term(q, far, splat(2.83297682f));
    return splat(1.41421356f) * s * choose(w < splat(5.0f), p, q);
}

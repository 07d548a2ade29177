/* Images as real-valued states. */

#define TAKE(suffix, type)                                                                         \
    static void take_##suffix(const void *args, rbm_worker *me) {                                  \
        const rbm_take_args a = *(const rbm_take_args *)args;                                      \
        const type *images = a.images;                                                             \
        EACH_ROW(me, 8, a.rows, r) {                                                               \
            const type *image = images + (size_t)a.index[r] * a.units;                             \
            float *to = a.states + r * a.ld;                                                       \
            if (r + 1 < a.rows)                                                                    \
                prefetch(images + (size_t)a.index[r + 1] * a.units, a.units * sizeof *image);      \
            for (size_t u = 0; u < a.units; u += LANES) {                                          \
                size_t here = at_most_of(a.units - u, LANES);                                      \
                type group[LANES] = {0};                                                           \
                memcpy(group, image + u, here * sizeof *group);                                    \
                vfloat x = load_##suffix(group) / splat(a.scale);                                  \
                if (a.sigma)                                                                       \
                    x = x / load_first(a.sigma + u, here);                                         \
                store_first(to + u, x, here);                                                      \
            }                                                                                      \
            memset(to + a.units, 0, (a.ld - a.units) * sizeof *to);                                \
        }                                                                                          \
    }

TAKE(u8, uint8_t)
TAKE(f32, float)

static void exponentials(const void *args, rbm_worker *me) {
    const rbm_exponentials_args a = *(const rbm_exponentials_args *)args;
    EACH(me, 16, a.count / RBM_PAD, part)
    for (size_t i = part * RBM_PAD; i < (part + 1) * RBM_PAD; i += LANES)
        store(a.out + i, exponential(load(a.values + i)));
}

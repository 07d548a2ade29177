/* From one inverse temperature to the next. */

static void temper(const void *args, rbm_worker *me) {
    const rbm_temper_args a = *(const rbm_temper_args *)args;
    EACH_ROW(me, 8, a.rows, r) {
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

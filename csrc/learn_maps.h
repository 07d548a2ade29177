/* A whole step of learning of a convolutional link, given the statistics of both phases: of filters
 * and maps, what rbmcli/learning/ says in numpy. */

/* Of sums over a map's units, divided by the rows: that of the first phase by `units`, and the
 * difference of both by `positions`. */
static void compare_sums(const float *const sums[2], const size_t rows[2], size_t ld, size_t maps,
                         size_t units, size_t positions, float *mean, float *difference) {
    for (size_t k = 0; k < maps; k++) {
        double sum[2] = {0, 0};
        for (size_t p = 0; p < 2; p++) {
            for (size_t r = 0; r < rows[p]; r++)
                sum[p] += (double)sums[p][r * ld + k];
            sum[p] /= (double)rows[p];
        }
        mean[k] = (float)(sum[0] / (double)units);
        difference[k] = (float)((sum[0] - sum[1]) / (double)positions);
    }
}

/* One step of the weights of LANES filters from k on. `along` becomes the products of the gradient
 * with the offsets, and with `refresh`, `penalty` those of the decay of weights. */
static void learn_filters(const rbm_learn_maps_args *a, size_t k, const float *offset,
                          const float *difference, vfloat *along, vfloat *penalty) {
    size_t channels = a->maps.channels, count = taps(&a->maps), on = 0;
    vfloat change = load(difference + k), decayed = {0}, sum = {0}, check = {0};
    for (size_t tap = 0; tap < count; tap++) {
        size_t at = tap * a->ld + k;
        vfloat gradient = load(a->gradient + at);
        if (offset) {
            vfloat o = splat(offset[on]);
            on = on + 1 < channels ? on + 1 : 0;
            gradient -= o * change;
            sum += o * gradient;
            decayed += o * load(a->weights + at);
        }
        step_vector(a->weights + at, a->velocity + at, gradient, &a->how.rule, &check);
    }
    require_finite(a->how.finite, check);
    *along = sum;
    *penalty = splat((float)a->how.decay) * decayed;
}

/* The biases of `count` maps from k on. */
INLINE void step_map_biases(const rbm_map_layer *layer, size_t k, size_t count,
                            const float *gradient, const rbm_learning *how) {
    for (size_t i = 0; i < count; i++)
        step_unit(layer->bias + k + i, layer->bias_velocity + k + i, gradient[i], &how->rule,
                  how->finite);
}

/* Values of maps, at each of their units. */
static void spread_maps(const float *of_maps, size_t maps, size_t positions, float *out,
                        rbm_worker *me) {
    EACH(me, 16, positions, i)
    memcpy(out + i * maps, of_maps, maps * sizeof *out);
}

static void learn_maps(const void *args, rbm_worker *me) {
    const rbm_learn_maps_args a = *(const rbm_learn_maps_args *)args;
    const rbm_maps *maps = &a.maps;
    size_t filters = maps->filters, channels = maps->channels, pixels = maps->height * maps->width;
    size_t positions = maps->hidden_height * maps->hidden_width;
    float *offset = a.vectors, *below = offset + a.ld_channels, *above = below + a.ld_channels;
    float *penalty = above + a.ld, *activity = penalty + a.ld;

    if (me->thread == 0) {
        compare_sums(a.visible_sums, a.rows, a.ld_channels, channels, pixels, positions, offset,
                     below);
        for (size_t c = 0; a.offset && c < channels; c++)
            offset[c] = a.offset[c] + a.how.slide * (offset[c] - a.offset[c]);
        memset(above, 0, a.ld * sizeof *above);
        compare_sums(a.hidden_sums, a.rows, a.ld, filters, positions, positions, activity, above);
        for (size_t k = 0; a.activity && k < filters; k++)
            activity[k] = a.activity[k] + a.follow_activity * (activity[k] - a.activity[k]);
    }
    rbm_meet(me);

    EACH(me, 1, a.ld / LANES, block) {
        size_t k = block * LANES, here = k < filters ? at_most_of(filters - k, LANES) : 0;
        float gradient[LANES], along[LANES], anew[LANES];
        vfloat sums[2];
        learn_filters(&a, k, a.offset ? offset : NULL, above, &sums[0], &sums[1]);
        store(along, sums[0]);
        store(anew, sums[1]);
        for (size_t i = 0; i < here; i++) {
            float pull = a.activity ? a.cost * (a.target - activity[k + i]) : 0;
            penalty[k + i] = a.offset && !a.how.refresh ? a.penalty[k + i] : anew[i];
            gradient[i] = above[k + i] + pull + (a.offset ? penalty[k + i] - along[i] : 0);
        }
        step_map_biases(&a.hidden, k, here, gradient, &a.how);
    }
    EACH(me, 64, channels, c)
    step_map_biases(&a.visible, c, 1, below + c, &a.how);
    rbm_meet(me);

    spread_maps(a.visible.bias, channels, pixels, a.visible.natural, me);
    spread_maps(a.hidden.bias, filters, positions, a.hidden.natural, me);
    if (a.offset)
        spread_maps(offset, channels, pixels, a.offset, me);
    if (a.offset && a.how.refresh)
        spread_maps(penalty, filters, positions, a.penalty, me);
    if (a.activity)
        spread_maps(activity, filters, positions, a.activity, me);
}

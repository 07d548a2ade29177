/* A whole step of learning of a dense link between visible states and hidden means: the statistics
 * of both phases, offsets that follow the data, the centred gradient, weights and biases. What each
 * part computes, and in which order, is what rbmcli/learning/ says in numpy. */

/* Per hidden unit of a tile of vectors: the mean, of rows weighted by `weight` where it is given.
 */
INLINE void hidden_means(const rbm_phase *phase, size_t ld, size_t v, size_t count,
                         const float *weight, float *mean) {
    float *to = mean + v * LANES;
    sum_tile_columns(phase->hidden, phase->rows, ld, weight, v, count, mean);
    for (size_t i = 0; i < count; i++)
        store(to + i * LANES, load(to + i * LANES) / splat((float)phase->rows));
}

/* The sum of the entries of `vector`, padded, that a row of bits selects, in RBM_PAD interleaved
 * parts. */
INLINE float dot_row_bits(const uint64_t *bits, size_t units, const float *vector) {
    vfloat part[RBM_PAD / LANES];
    for (size_t i = 0; i < RBM_PAD / LANES; i++)
        part[i] = (vfloat){0};
    for (size_t u = 0; u < units; u += RBM_PAD)
        for (size_t i = 0; i < RBM_PAD; i += LANES)
            part[i / LANES] += keep((uint32_t)(bits[u / 64] >> (u + i) % 64), load(vector + u + i));
    float parts[RBM_PAD], sum = 0;
    for (size_t i = 0; i < RBM_PAD / LANES; i++)
        store(parts + i * LANES, part[i]);
    for (size_t i = 0; i < RBM_PAD; i++)
        sum += parts[i];
    return sum;
}

/* The sum of the rows' weights, for the units of word w over the rows where they are on, divided
 * by the rows. */
INLINE void weigh_bits(const rbm_phase *phase, size_t w, const float *weight, float out[64]) {
    vfloat sum[64 / LANES];
    for (size_t i = 0; i < 64 / LANES; i++)
        sum[i] = (vfloat){0};
    for (size_t r = 0; r < phase->rows; r++) {
        uint64_t bits = phase->visible[r * phase->words + w];
        vfloat x = splat(weight[r]);
        if (bits)
            for (size_t i = 0; i < 64 / LANES; i++)
                sum[i] += keep((uint32_t)(bits >> i * LANES), x);
    }
    for (size_t i = 0; i < 64 / LANES; i++)
        store(out + i * LANES, sum[i] / splat((float)phase->rows));
}

/* Per unit from u on, up to 64, of a column: the sum over rows of weight (or 1) times the values,
 * divided by the rows. */
INLINE void weigh_values(const rbm_phase *phase, size_t ld, size_t u, const float *weight,
                         float out[64]) {
    enum { MOST = 64 / LANES < MAX_TILE ? 64 / LANES : MAX_TILE };
    size_t end = at_most_of(ld, u + 64);
    for (size_t at = u; at < end;) {
        int whole = end - at >= MOST * LANES;
        if (whole)
            sum_columns(phase->values + at, phase->rows, ld, weight, out + (at - u), MOST);
        else
            sum_columns(phase->values + at, phase->rows, ld, weight, out + (at - u), 1);
        at += whole ? MOST * LANES : LANES;
    }
    for (size_t i = 0; i < end - u; i += LANES)
        store(out + i, load(out + i) / splat((float)phase->rows));
}

/* The same of the squares of (value - center). */
INLINE void square_values(const rbm_phase *phase, size_t ld, size_t u, const float *center,
                          float out[64]) {
    for (size_t at = u; at < at_most_of(ld, u + 64); at += LANES) {
        vfloat sum = {0}, m = load(center + at);
        for (size_t r = 0; r < phase->rows; r++) {
            vfloat x = load(phase->values + r * ld + at) - m;
            sum += x * x;
        }
        store(out + (at - u), sum / splat((float)phase->rows));
    }
}

/* Of the units of word w, whichever form the states have. */
INLINE void weigh_visible(const rbm_phase *phase, size_t ld, size_t w, const float *weight,
                          float out[64]) {
    if (phase->values)
        weigh_values(phase, ld, w * 64, weight, out);
    else
        weigh_bits(phase, w, weight, out);
}

/* difference = first - second over the units; offset, where it is given, follows the first. */
INLINE void follow(const float *first, const float *second, size_t units, float slide,
                   float *offset, float *difference) {
    for (size_t u = 0; u < units; u++) {
        difference[u] = first[u] - second[u];
        if (offset)
            offset[u] += slide * (first[u] - offset[u]);
    }
}

/* One step of the rule, without decay, on a parameter of a unit. */
INLINE void step_unit(float *value, float *velocity, float gradient, const rbm_rule *rule,
                      int *finite) {
    float step = rule->rate * gradient, v = rule->momentum * *velocity + step;
    *velocity = v;
    *value += rule->nesterov ? rule->momentum * v + step : v;
    if (!(*value - *value == 0))
        __atomic_store_n(finite, 0, __ATOMIC_RELAXED);
}

/* The biases of `count` units from `unit` on. gradient: of their natural biases; centring: by how
 * much these are to move besides. */
INLINE void step_biases(const rbm_layer *layer, size_t unit, size_t count, const float *gradient,
                        const float *centring, const rbm_rule *rule, int *finite) {
    for (size_t i = 0; i < count; i++) {
        size_t u = unit + i;
        float total =
            layer->sigma
                ? (gradient[i] + layer->sigma[u] * layer->sigma[u] * centring[i]) / layer->sigma[u]
                : gradient[i] + centring[i];
        step_unit(layer->bias + u, layer->bias_velocity + u, total, rule, finite);
        if (layer->sigma && !layer->log_sigma)
            layer->natural[u] = layer->bias[u] / layer->sigma[u];
    }
}

/* The deviation of a unit, whose logarithm has this gradient, and its natural bias. */
INLINE void step_deviation(const rbm_layer *layer, size_t u, float gradient, const rbm_rule *rule,
                           int *finite) {
    float *value = layer->log_sigma + u, most = layer->most_log_sigma;
    step_unit(value, layer->log_sigma_velocity + u, gradient, rule, finite);
    *value = *value < -most ? -most : *value > most ? most : *value;
    float sigma[LANES];
    store(sigma, exponential(splat(*value)));
    layer->sigma[u] = sigma[0];
    layer->natural[u] = layer->bias[u] / sigma[0];
}

/* Floats of the workspace, from its beginning: vectors of both layers, then of the rows. */
typedef struct {
    float *visible[2], *hidden[2]; /* means of the phases */
    float *left, *right;           /* the correction: two rows of ld_visible and of ld_hidden */
    float *hidden_dot[2], *visible_dot[2]; /* of each row of a phase with the offsets */
    float *weighted[2];                    /* means of hidden units, weighted by visible_dot */
    float *dots; /* right[0] . hidden offset, right[1] . it, left[0] . visible offset, left[1] */
    /* Where visible deviations are learned: mean squares of the phases, (s - m)^2, and as
     * value_update has them, weights times the gradient. */
    float *squares[2], *products;
} learn_memory;

INLINE learn_memory lay_out_learn(const rbm_learn_args *a) {
    learn_memory m;
    float *at = a->vectors;
    size_t lv = a->link.ld_visible, lh = a->link.ld_hidden;
    for (int p = 0; p < 2; p++) {
        m.visible[p] = at, at += lv;
        m.hidden[p] = at, at += lh;
        m.weighted[p] = at, at += lh;
    }
    m.left = at, at += 2 * lv;
    m.right = at, at += 2 * lh;
    m.dots = at, at += RBM_PAD;
    for (int p = 0; p < 2; p++) {
        size_t rows = p ? a->negative.rows : a->positive.rows;
        m.hidden_dot[p] = at, at += rows;
        m.visible_dot[p] = at, at += rows;
    }
    m.squares[0] = at, at += lv;
    m.squares[1] = at, at += lv;
    m.products = a->visible.log_sigma ? at : NULL;
    return m;
}

/* What centring adds to the gradient of the visible biases of word w. */
INLINE void center_visible(const rbm_learn_args *a, const learn_memory *m, size_t w, size_t here,
                           float *centring) {
    float up[2][64];
    size_t ld = a->link.ld_visible;
    weigh_visible(&a->positive, ld, w, m->hidden_dot[0], up[0]);
    weigh_visible(&a->negative, ld, w, m->hidden_dot[1], up[1]);
    for (size_t u = 0; u < here; u++) {
        size_t unit = w * 64 + u;
        float corrected = m->left[unit] * m->dots[0] + m->left[ld + unit] * m->dots[1];
        centring[u] = a->penalty_visible[unit] - up[0][u] + up[1][u] - corrected;
    }
}

/* The same for the hidden biases of `count` vectors from v on. */
INLINE void center_hidden(const rbm_learn_args *a, const learn_memory *m, size_t v, size_t count,
                          float *centring) {
    size_t ld = a->link.ld_hidden, from = v * LANES, to = from + count * LANES;
    hidden_means(&a->positive, ld, v, count, m->visible_dot[0], m->weighted[0]);
    hidden_means(&a->negative, ld, v, count, m->visible_dot[1], m->weighted[1]);
    for (size_t unit = from; unit < to && unit < a->link.hidden; unit++) {
        float corrected = m->right[unit] * m->dots[2] + m->right[ld + unit] * m->dots[3];
        centring[unit - from] =
            a->penalty_hidden[unit] - m->weighted[0][unit] + m->weighted[1][unit] - corrected;
    }
}

/* Dot products of the rows of a phase with the offsets. */
static void dot_phase(const rbm_learn_args *a, const rbm_phase *phase, float *hidden_dot,
                      float *visible_dot, rbm_worker *me) {
    size_t ld = a->link.ld_hidden;
    EACH(me, 8, phase->rows, r) {
        hidden_dot[r] = (float)dot_row(phase->hidden + r * ld, a->offset_hidden, ld);
        visible_dot[r] = phase->values ? (float)dot_row(phase->values + r * a->link.ld_visible,
                                                        a->offset_visible, a->link.ld_visible)
                                       : dot_row_bits(phase->visible + r * phase->words,
                                                      a->link.visible, a->offset_visible);
    }
}

/* The products of the decay of weights with the offsets. */
static void refresh_penalties(const rbm_learn_args *a, rbm_worker *me) {
    const rbm_dense *link = &a->link;
    EACH(me, 16, link->visible, i)
    a->penalty_visible[i] = (float)(a->how.decay * dot_row(link->weights + i * link->ld_hidden,
                                                           a->offset_hidden, link->ld_hidden));
    EACH(me, 1, (link->hidden + RBM_PAD - 1) / RBM_PAD, part) {
        size_t c = part * RBM_PAD, end = at_most_of(link->hidden, c + RBM_PAD);
        double sum[RBM_PAD];
        dot_part(link->weights + c, link->visible, link->ld_hidden, a->offset_visible, sum);
        for (size_t j = c; j < end; j++)
            a->penalty_hidden[j] = (float)(a->how.decay * sum[j - c]);
    }
}

/* Means of the visible units of word w, and the lists or mean squares that go with them. */
INLINE void visible_means(const rbm_learn_args *a, const learn_memory *m, size_t w) {
    size_t visible = a->link.visible, here = units_of_word(visible, w), ld = a->link.ld_visible;
    const rbm_phase *phases[2] = {&a->positive, &a->negative};
    if (!a->positive.values) {
        uint32_t on[2][64] = {{0}};
        list_word(phases[0], phases[1], larger_phase(phases[0], phases[1]), w, here, a->lists,
                  a->lists + visible, on);
        for (int p = 0; p < 2; p++)
            for (size_t u = 0; u < here; u++)
                m->visible[p][w * 64 + u] = (float)on[p][u] / (float)phases[p]->rows;
        return;
    }
    for (int p = 0; p < 2; p++) {
        float means[64];
        weigh_values(phases[p], ld, w * 64, NULL, means);
        memcpy(m->visible[p] + w * 64, means, here * sizeof *means);
        if (a->visible.log_sigma) {
            square_values(phases[p], ld, w * 64, a->visible.natural, means);
            memcpy(m->squares[p] + w * 64, means, here * sizeof *means);
        }
    }
}

/* Deviations of the visible units, once the weights are updated. Minus the derivative of the energy
 * by log sigma is (s - m)^2 - s x, s being the state, m the natural bias and x what the link adds
 * to it; averaged, s x is a row of weights times a row of the gradient. */
static void learn_deviations(const rbm_learn_args *a, const learn_memory *m, rbm_worker *me) {
    size_t sums = (a->link.hidden + RBM_DOT - 1) / RBM_DOT, ld = a->link.ld_hidden / RBM_DOT;
    EACH(me, 16, a->link.visible, u) {
        double product = 0;
        for (size_t g = 0; g < sums; g++)
            product += m->products[u * ld + g];
        step_deviation(&a->visible, u, m->squares[0][u] - m->squares[1][u] - (float)product,
                       &a->how.rule, a->how.finite);
    }
}

static void learn(const void *args, rbm_worker *me) {
    const rbm_learn_args a = *(const rbm_learn_args *)args;
    const rbm_dense *link = &a.link;
    const rbm_phase *positive = &a.positive, *negative = &a.negative;
    const learn_memory m = lay_out_learn(&a);
    size_t lv = link->ld_visible, lh = link->ld_hidden;
    size_t words = (link->visible + 63) / 64, vectors = (link->hidden + LANES - 1) / LANES;
    size_t tiles = (vectors + MAX_TILE - 1) / MAX_TILE;
    const int centred = a.offset_visible != NULL;
    float *below = m.left + lv;

    const int real = positive->values != NULL;
    uint64_t *there = (uint64_t *)a.lists;

    EACH(me, 1, words, word)
    visible_means(&a, &m, word);
    EACH(me, 1, tiles, summed) {
        size_t v = summed * MAX_TILE, count = at_most_of(vectors - v, MAX_TILE);
        hidden_means(positive, lh, v, count, NULL, m.hidden[0]);
        hidden_means(negative, lh, v, count, NULL, m.hidden[1]);
    }
    if (real) {
        stack_blocks(positive, negative, lh, a.scaled, me);
        find_terms(positive, negative, link->visible, lv, there, me);
    } else
        stack_rows(positive, negative, lh, a.scaled, me);
    rbm_meet(me);

    /* The differences of the means are the gradient of plain biases. Of hidden units, and of their
     * offsets, the correction has the negatives. */
    if (me->thread == 0) {
        follow(m.visible[0], m.visible[1], link->visible, a.how.slide, a.offset_visible, below);
        follow(m.hidden[0], m.hidden[1], link->hidden, a.how.slide,
               a.how.follow_hidden ? a.offset_hidden : NULL, m.right);
        for (size_t u = 0; u < lh; u++) {
            m.right[u] = u < link->hidden ? -m.right[u] : 0;
            m.right[lh + u] = centred ? -a.offset_hidden[u] : 0;
        }
        for (size_t u = 0; u < lv; u++) {
            m.left[u] = centred ? a.offset_visible[u] : 0;
            below[u] = u < link->visible ? below[u] : 0;
        }
        if (centred)
            for (size_t k = 0; k < 2; k++) {
                m.dots[k] = (float)dot_row(m.right + k * lh, a.offset_hidden, lh);
                m.dots[2 + k] = (float)dot_row(m.left + k * lv, a.offset_visible, lv);
            }
    }
    rbm_meet(me);
    if (centred) {
        dot_phase(&a, positive, m.hidden_dot[0], m.visible_dot[0], me);
        dot_phase(&a, negative, m.hidden_dot[1], m.visible_dot[1], me);
        if (a.how.refresh)
            refresh_penalties(&a, me);
        rbm_meet(me);
    }

    EACH(me, 1, words, w) {
        size_t here = units_of_word(link->visible, w);
        float centring[64] = {0};
        if (centred)
            center_visible(&a, &m, w, here, centring);
        step_biases(&a.visible, w * 64, here, below + w * 64, centring, &a.how.rule, a.how.finite);
    }
    EACH(me, 1, tiles, t) {
        size_t v = t * MAX_TILE, count = at_most_of(vectors - v, MAX_TILE);
        size_t unit = v * LANES, here = at_most_of(link->hidden - unit, count * LANES);
        float gradient[MAX_TILE * LANES], centring[MAX_TILE * LANES] = {0};
        for (size_t i = 0; i < here; i++)
            gradient[i] = -m.right[unit + i];
        if (centred)
            center_hidden(&a, &m, v, count, centring);
        step_biases(&a.hidden, unit, here, gradient, centring, &a.how.rule, a.how.finite);
        /* Hidden states are averaged, given their total inputs: 1 - m x. */
        for (size_t i = 0; a.hidden.log_sigma && i < here; i++)
            step_deviation(&a.hidden, unit + i, -a.hidden.natural[unit + i] * gradient[i],
                           &a.how.rule, a.how.finite);
    }
    const rbm_low_rank correction = {m.left, m.right, centred ? 2 : 0};
    if (real) {
        const value_update x = {link,      {positive, negative}, &correction, &a.how.rule, a.scaled,
                                m.products};
        update_by_values(&x, there, a.how.finite, me);
    } else
        update_by_lists(link, positive->rows, negative->rows, &correction, &a.how.rule, a.lists,
                        a.lists + link->visible, a.scaled, a.how.finite, me);
    if (m.products) {
        rbm_meet(me);
        learn_deviations(&a, &m, me);
    }
}

/* Gradients and the update rule of the dense link. */

/* One step of the rule on a vector of weights. `check` gathers 0 for finite weights, else NaN. */
INLINE void step_vector(float *weights, float *velocity, vfloat gradient, const rbm_rule *rule,
                        vfloat *check) {
    vfloat w = load(weights), pull = gradient - splat(rule->decay) * w;
    if (rule->l1 != 0) {
        vfloat sign = choose(w > 0, splat(1.0f), choose(w < 0, splat(-1.0f), (vfloat){0}));
        pull -= splat(rule->l1) * sign;
    }
    vfloat step = splat(rule->rate) * pull;
    vfloat v = splat(rule->momentum) * load(velocity) + step;
    w += rule->nesterov ? splat(rule->momentum) * v + step : v;
    store(velocity, v);
    store(weights, w);
    *check += w - w;
}

INLINE int all_zero(vfloat check) {
    return lane_bits(check == (vfloat){0}) == (UINT64_C(1) << LANES) - 1;
}

/* The rule on one visible unit's weights over N vectors of columns; the gradient is the sum of
 * the listed rows of `stack`, and of the correction's rows `right`, times `left`. */
#define UPDATE_ROW(N)                                                                              \
    static void update_row_##N(float *weights, float *velocity, const float *stack, size_t ld,     \
                               const uint32_t *index, size_t count, const float *left,             \
                               size_t ld_left, const float *right, size_t rank,                    \
                               const rbm_rule *rule, vfloat *check) {                              \
        vfloat sum[N];                                                                             \
        for (int v = 0; v < N; v++)                                                                \
            sum[v] = (vfloat){0};                                                                  \
        for (size_t k = 0; k < rank; k++)                                                          \
            for (int v = 0; v < N; v++)                                                            \
                sum[v] += splat(left[k * ld_left]) * load(right + k * ld + v * LANES);             \
        for (size_t e = 0; e < count; e++) {                                                       \
            const float *row = stack + index[e] * ld;                                              \
            for (int v = 0; v < N; v++)                                                            \
                sum[v] += load(row + v * LANES);                                                   \
        }                                                                                          \
        for (int v = 0; v < N; v++)                                                                \
            step_vector(weights + v * LANES, velocity + v * LANES, sum[v], rule, check);           \
    }
UPDATE_ROW(1)
UPDATE_ROW(2)
UPDATE_ROW(3)
UPDATE_ROW(4)
UPDATE_ROW(5)
UPDATE_ROW(6)
UPDATE_ROW(7)
UPDATE_ROW(8)

typedef void update_row_function(float *, float *, const float *, size_t, const uint32_t *, size_t,
                                 const float *, size_t, const float *, size_t, const rbm_rule *,
                                 vfloat *);
static update_row_function *const update_row[MAX_TILE + 1] = {
    0,
    update_row_1,
    update_row_2,
    update_row_3,
    update_row_4,
    update_row_5,
    update_row_6,
    update_row_7,
    update_row_8,
};

/* to = scale * from, over rows x ld. */
static void scale_rows(const float *from, size_t rows, size_t ld, float scale, float *to,
                       rbm_worker *me) {
    EACH(me, 8, rows, r)
    for (size_t c = 0; c < ld; c += LANES)
        store(to + r * ld + c, splat(scale) * load(from + r * ld + c));
}

/* The matrix whose rows the gradient is a sum of: the scaled means of the positive phase, those of
 * the negative, and the sums of the two where both have the row. */
static void stack_rows(const rbm_phase *positive, const rbm_phase *negative, size_t ld,
                       float *stack, rbm_worker *me) {
    size_t rows0 = positive->rows, rows1 = negative->rows;
    const vfloat scale0 = splat(1.0f / (float)rows0), scale1 = splat(-1.0f / (float)rows1);
    EACH(me, 16, rows0 > rows1 ? rows0 : rows1, r)
    for (size_t c = 0; c < ld; c += LANES) {
        vfloat first = {0}, second = {0};
        if (r < rows0) {
            first = scale0 * load(positive->hidden + r * ld + c);
            store(stack + r * ld + c, first);
        }
        if (r < rows1) {
            second = scale1 * load(negative->hidden + r * ld + c);
            store(stack + (rows0 + r) * ld + c, second);
        }
        if (r < rows0 && r < rows1)
            store(stack + (rows0 + rows1 + r) * ld + c, first + second);
    }
}

/* Sums run in RBM_PAD interleaved parts on every target, so that all give the same. */
INLINE double dot_row(const float *row, const float *vector, size_t ld) {
    double part[RBM_PAD] = {0}, sum = 0;
    for (size_t c = 0; c < ld; c += RBM_PAD)
        for (size_t i = 0; i < RBM_PAD; i++)
            part[i] += (double)row[c + i] * (double)vector[c + i];
    for (size_t i = 0; i < RBM_PAD; i++)
        sum += part[i];
    return sum;
}

/* The same of RBM_PAD columns, `rows` values each, at once. */
INLINE void dot_part(const float *column, size_t rows, size_t ld, const float *vector,
                     double sum[RBM_PAD]) {
    memset(sum, 0, RBM_PAD * sizeof *sum);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < RBM_PAD; i++)
            sum[i] += (double)column[r * ld + i] * (double)vector[r];
}

INLINE void give_sum(double sum, const double *weight, double *out) {
    *out = weight ? *out + *weight * sum : sum;
}

static void dot_rows(const void *args, rbm_worker *me) {
    const rbm_dot_rows_args a = *(const rbm_dot_rows_args *)args;
    EACH_ROW(me, 16, a.rows, r)
    give_sum(dot_row(a.matrix + r * a.ld, a.vector, a.ld), a.weight, a.out + r);
}

static void dot_columns(const void *args, rbm_worker *me) {
    const rbm_dot_columns_args a = *(const rbm_dot_columns_args *)args;
    EACH(me, 1, (a.width + RBM_PAD - 1) / RBM_PAD, part) {
        size_t c = part * RBM_PAD, columns = at_most_of(a.width - c, RBM_PAD);
        double sum[RBM_PAD];
        dot_part(a.matrix + c, a.rows, a.ld, a.vector, sum);
        memcpy(a.out + c, sum, columns * sizeof *sum);
    }
}

static void dot_bits(const void *args, rbm_worker *me) {
    const rbm_dot_bits_args a = *(const rbm_dot_bits_args *)args;
    EACH_ROW(me, 16, a.rows, r) {
        const uint64_t *bits = a.bits + r * a.words;
        double part[RBM_PAD] = {0}, sum = 0;
        for (size_t u = 0; u < a.units; u += RBM_PAD) {
            uint32_t on = (uint32_t)(bits[u / 64] >> u % 64) & 0xffffu;
            if (!on)
                continue;
            float values[RBM_PAD];
            for (size_t i = 0; i < RBM_PAD; i += LANES)
                store(values + i, keep(on >> i, load(a.vector + u + i)));
            for (size_t i = 0; i < RBM_PAD; i++)
                part[i] += (double)values[i];
        }
        for (size_t i = 0; i < RBM_PAD; i++)
            sum += part[i];
        give_sum(sum, a.weight, a.out + r);
    }
}

/* Column sums over N vectors of columns; the weights of the rows are ones where `weight` is null.
 */
INLINE void sum_columns(const float *matrix, size_t rows, size_t ld, const float *weight,
                        float *out, const int n) {
    vfloat sum[MAX_TILE];
    for (int v = 0; v < n; v++)
        sum[v] = (vfloat){0};
    for (size_t r = 0; r < rows; r++)
        for (int v = 0; v < n; v++) {
            vfloat x = load(matrix + r * ld + v * LANES);
            sum[v] += weight ? splat(weight[r]) * x : x;
        }
    for (int v = 0; v < n; v++)
        store(out + v * LANES, sum[v]);
}

/* The same of `count` vectors from v on, at most a tile. */
INLINE void sum_tile_columns(const float *matrix, size_t rows, size_t ld, const float *weight,
                             size_t v, size_t count, float *out) {
    if (count == MAX_TILE)
        sum_columns(matrix + v * LANES, rows, ld, weight, out + v * LANES, MAX_TILE);
    else
        for (size_t end = v + count; v < end; v++)
            sum_columns(matrix + v * LANES, rows, ld, weight, out + v * LANES, 1);
}

static void column_sums(const void *args, rbm_worker *me) {
    const rbm_column_sums_args a = *(const rbm_column_sums_args *)args;
    size_t vectors = (a.width + LANES - 1) / LANES, tiles = (vectors + MAX_TILE - 1) / MAX_TILE;
    EACH(me, 1, tiles, tile) {
        size_t v = tile * MAX_TILE, count = at_most_of(vectors - v, MAX_TILE);
        sum_tile_columns(a.matrix, a.rows, a.ld, a.weight, v, count, a.out);
    }
}

static void accumulate(const void *args, rbm_worker *me) {
    const rbm_accumulate_args a = *(const rbm_accumulate_args *)args;
    scale_rows(a.phase.hidden, a.phase.rows, a.ld, a.scale, a.scaled, me);
    const rbm_phase none = {0};
    list_units(&a.phase, &none, a.visible, a.count, a.index, me);
    rbm_meet(me);
    size_t vectors = (a.width + LANES - 1) / LANES, tile = tile_vectors(a.phase.rows, vectors);
    size_t tiles = (vectors + tile - 1) / tile, blocks = (a.visible + ROW_BLOCK - 1) / ROW_BLOCK;
    EACH(me, 1, tiles * blocks, item) {
        size_t first = item / blocks * tile, i = item % blocks * ROW_BLOCK;
        size_t count = at_most_of(vectors - first, tile), column = first * LANES;
        for (size_t end = at_most_of(i + ROW_BLOCK, a.visible); i < end; i++) {
            float *to = a.gradient + i * a.ld + column;
            sum_rows[count](a.scaled + column, a.ld, a.index + i * a.phase.rows, a.count[i], to,
                            to);
        }
    }
}

/* Threads may say so at once. */
INLINE void require_finite(int *finite, vfloat check) {
    if (!all_zero(check))
        __atomic_store_n(finite, 0, __ATOMIC_RELAXED);
}

static void apply(const void *args, rbm_worker *me) {
    const rbm_apply_args a = *(const rbm_apply_args *)args;
    const rbm_dense *link = &a.link;
    size_t ld = link->ld_hidden, width = (link->hidden + LANES - 1) / LANES * LANES;
    EACH(me, 16, link->visible, r) {
        vfloat check = {0};
        for (size_t c = 0; c < width; c += LANES)
            step_vector(link->weights + r * ld + c, link->velocity + r * ld + c,
                        load(a.gradient + r * ld + c), &a.rule, &check);
        require_finite(a.finite, check);
    }
}

/* Weights are gone through in panels of columns, of which the stack stays in the L2 cache; of a
 * panel row by row, as memory is read best, and what a thread has of it is its own also in the next
 * step, where one panel is all. */
#define PANEL_BYTES ((LANES == 16 ? 768 : 256) * 1024)

enum { UPDATED_ROWS = 16 }; /* that a thread takes at a time */

/* The rule on all weights, given bits: the lists of the stack's rows, and the stack itself, being
 * made. */
static void update_by_lists(const rbm_dense *link, size_t rows0, size_t rows1,
                            const rbm_low_rank *correction, const rbm_rule *rule,
                            const uint32_t *listed, const uint32_t *index, const float *stack,
                            int *finite, rbm_worker *me) {
    size_t ld = link->ld_hidden, stacked = rows0 + rows1 + at_most_of(rows0, rows1);
    size_t stride = rows0 > rows1 ? rows0 : rows1;
    size_t vectors = (link->hidden + LANES - 1) / LANES;
    size_t panel = parts_alike(vectors, PANEL_BYTES / (stacked * sizeof(vfloat)), MIN_TILE);
    size_t panels = (vectors + panel - 1) / panel, tile = parts_alike(panel, MAX_TILE, 1);
    size_t blocks = (link->visible + UPDATED_ROWS - 1) / UPDATED_ROWS;
    EACH(me, 1, panels * blocks, item) {
        size_t first = item / blocks * panel, last = at_most_of(vectors, first + panel);
        size_t i = item % blocks * UPDATED_ROWS, end = at_most_of(link->visible, i + UPDATED_ROWS);
        vfloat check = {0};
        for (size_t r = i; r < end; r++)
            for (size_t v = first; v < last; v += tile) {
                size_t column = v * LANES;
                update_row[at_most_of(last - v, tile)](
                    link->weights + r * ld + column, link->velocity + r * ld + column,
                    stack + column, ld, index + r * stride, listed[r], correction->left + r,
                    link->ld_visible, correction->right + column, correction->rank, rule, &check);
            }
        require_finite(finite, check);
    }
}

/* Of real-valued states the stack has no sums, and lies as register blocks read it: the columns of
 * one block, row by row, then those of the next. */
static void stack_blocks(const rbm_phase *positive, const rbm_phase *negative, size_t ld,
                         float *stack, rbm_worker *me) {
    size_t rows0 = positive->rows, rows = rows0 + negative->rows;
    EACH(me, 8, rows, r) {
        const rbm_phase *phase = r < rows0 ? positive : negative;
        const float *from = phase->hidden + (r < rows0 ? r : r - rows0) * ld;
        vfloat scale = splat((r < rows0 ? 1.0f : -1.0f) / (float)phase->rows);
        for (size_t c = 0; c < ld; c += BLOCK_WIDTH) {
            size_t width = at_most_of(ld - c, BLOCK_WIDTH);
            for (size_t i = 0; i < width; i += LANES)
                store(stack + c * rows + r * width + i, scale * load(from + c + i));
        }
    }
}

/* The weights of LANES visible units are worked on in strips, of which a register block has the
 * sums. */
enum {
    STRIP = LANES == 8 ? 4 : BLOCK_ROWS,
    STRIPS = (LANES + STRIP - 1) / STRIP,
};

INLINE size_t words_of(size_t rows) {
    return (rows + 63) / 64;
}

/* there[(block * STRIPS + strip) * words + w]: of the rows of a phase, 64 a word, those in which a
 * unit of the strip is not zero; first of the one phase, then of the other. */
static void find_terms(const rbm_phase *positive, const rbm_phase *negative, size_t visible,
                       size_t ld, uint64_t *there, rbm_worker *me) {
    const rbm_phase *phases[2] = {positive, negative};
    size_t words = words_of(positive->rows) + words_of(negative->rows);
    EACH(me, 1, (visible + LANES - 1) / LANES, block) {
        uint64_t *to = there + block * STRIPS * words;
        for (int p = 0; p < 2; p++)
            for (size_t r = 0; r < phases[p]->rows; r += 64, to++) {
                uint64_t terms[STRIPS] = {0};
                for (size_t k = 0; k < at_most_of(phases[p]->rows - r, 64); k++) {
                    vint x = (vint)load(phases[p]->values + (r + k) * ld + block * LANES);
                    uint32_t on = lane_bits((x << 1) != 0);
                    for (int s = 0; s < STRIPS; s++)
                        terms[s] |= (uint64_t)((on >> s * STRIP & ((1u << STRIP) - 1)) != 0) << k;
                }
                for (int s = 0; s < STRIPS; s++)
                    to[s * words] = terms[s];
            }
    }
}

/* What a pass over the weights works with. dots: where it is given, for each visible unit and
 * RBM_DOT columns, the weights times the gradient before the correction, summed. */
typedef struct {
    const rbm_dense *link;
    const rbm_phase *phases[2];
    const rbm_low_rank *correction;
    const rbm_rule *rule;
    const float *stack;
    float *dots;
} value_update;

/* The sums of n vectors by RBM_DOT lanes, always in this order. */
INLINE void sum_dots(const vfloat *products, float *to, const int n) {
    float x[BLOCK_WIDTH] = {0};
    for (int v = 0; v < n; v++)
        store(x + v * LANES, products[v]);
    for (int g = 0; g * RBM_DOT < n * LANES; g++) {
        const float *y = x + g * RBM_DOT;
        to[g] = ((y[0] + y[4]) + (y[2] + y[6])) + ((y[1] + y[5]) + (y[3] + y[7]));
    }
}

/* The rule on the weights of some visible units from i on, n vectors from column c on. */
INLINE void update_strip(const value_update *x, const uint64_t *there, size_t i, size_t c,
                         vfloat *check, const int rows, const int n) {
    const rbm_dense *link = x->link;
    const rbm_low_rank *correction = x->correction;
    size_t ld = link->ld_hidden, all = x->phases[0]->rows + x->phases[1]->rows;
    size_t width = at_most_of(ld - c, BLOCK_WIDTH);
    const float *from = x->stack + c * all;
    vfloat sum[BLOCK_ROWS][BLOCK_VECTORS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < n; v++)
            sum[r][v] = (vfloat){0};
    for (int p = 0; p < 2; p++)
        for (size_t k = 0; k < x->phases[p]->rows; k += TERMS) {
            size_t terms = at_most_of(x->phases[p]->rows - k, TERMS);
            add_terms(x->phases[p]->values + k * link->ld_visible + i, 1, link->ld_visible,
                      *there++, terms, from, width, sum, rows, n);
            from += terms * width;
        }
    for (int r = 0; r < rows; r++) {
        float *weights = link->weights + (i + (size_t)r) * ld + c;
        float *velocity = link->velocity + (i + (size_t)r) * ld + c;
        if (x->dots) {
            vfloat products[BLOCK_VECTORS];
            for (int v = 0; v < n; v++)
                products[v] = load(weights + v * LANES) * sum[r][v];
            sum_dots(products, x->dots + ((i + (size_t)r) * ld + c) / RBM_DOT, n);
        }
        for (size_t k = 0; k < correction->rank; k++)
            for (int v = 0; v < n; v++)
                sum[r][v] += splat(correction->left[k * link->ld_visible + i + (size_t)r]) *
                             load(correction->right + k * ld + c + v * LANES);
        for (int v = 0; v < n; v++)
            step_vector(weights + v * LANES, velocity + v * LANES, sum[r][v], x->rule, check);
    }
}

/* The rule on all weights, given real values: what find_terms and stack_blocks make being made. */
static void update_by_values(const value_update *x, const uint64_t *there, int *finite,
                             rbm_worker *me) {
    const rbm_dense *link = x->link;
    size_t rows0 = x->phases[0]->rows, rows1 = x->phases[1]->rows;
    size_t words = words_of(rows0) + words_of(rows1), block_bytes = BLOCK_WIDTH * sizeof(float);
    size_t vectors = (link->hidden + LANES - 1) / LANES;
    size_t tiles = (vectors + BLOCK_VECTORS - 1) / BLOCK_VECTORS;
    size_t panel = parts_alike(tiles, PANEL_BYTES / ((rows0 + rows1) * block_bytes), 1);
    size_t panels = (tiles + panel - 1) / panel, blocks = (link->visible + LANES - 1) / LANES;
    EACH(me, 1, panels * blocks, item) {
        size_t block = item % blocks, end = at_most_of(link->visible, (block + 1) * LANES);
        size_t tile = item / blocks * panel, last = at_most_of(tiles, tile + panel);
        vfloat check = {0};
        for (; tile < last; tile++) {
            size_t c = tile * BLOCK_WIDTH, count = at_most_of(vectors - c / LANES, BLOCK_VECTORS);
            const uint64_t *at = there + block * STRIPS * words;
            for (size_t i = block * LANES; i < end; i += STRIP, at += words) {
                size_t rows = at_most_of(end - i, STRIP);
#define UPDATE_STRIP(rows, n) update_strip(x, at, i, c, &check, rows, n)
                EACH_BLOCK(rows, count, UPDATE_STRIP)
            }
        }
        require_finite(finite, check);
    }
}

static void update(const void *args, rbm_worker *me) {
    const rbm_update_args a = *(const rbm_update_args *)args;
    const rbm_phase *positive = &a.positive, *negative = &a.negative;
    size_t visible = a.link.visible, ld = a.link.ld_hidden;
    if (positive->values) {
        uint64_t *there = (uint64_t *)a.lists;
        stack_blocks(positive, negative, ld, a.scaled, me);
        find_terms(positive, negative, visible, a.link.ld_visible, there, me);
        rbm_meet(me);
        const value_update x = {&a.link, {positive, negative}, &a.correction, &a.rule, a.scaled,
                                NULL};
        update_by_values(&x, there, a.finite, me);
    } else {
        stack_rows(positive, negative, ld, a.scaled, me);
        list_units(positive, negative, visible, a.lists, a.lists + visible, me);
        rbm_meet(me);
        update_by_lists(&a.link, positive->rows, negative->rows, &a.correction, &a.rule, a.lists,
                        a.lists + visible, a.scaled, a.finite, me);
    }
}

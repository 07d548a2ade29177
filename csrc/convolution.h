/* The kernels of a convolutional link. Rows of states that are mostly off go by runs
 * (convolution_runs.h), others by register blocks (convolution_dense.h); all add in the same order,
 * so that it does not show in the result which way a row went. */

/* Bits of a row of which more are on go as floats (benchmarks/convolution.py). */
#define FEW(count, units) (5 * (count) <= 2 * (units))

INLINE void spread_bits(const uint64_t *bits, size_t units, float *values) {
    for (size_t u = 0; u < units; u++)
        values[u] = (float)(bits[u / 64] >> u % 64 & 1);
}

/* Row r of so many states as values: those that there are, or bits, spread to `values`; or null for
 * bits of which few are on, the units of which are listed in `index`, *on of them. */
INLINE const float *values_of_row(const rbm_inputs_args *a, size_t r, size_t units, float *values,
                                  uint32_t *index, size_t *on) {
    if (!a->bits)
        return a->values + r * a->ld_values;
    const uint64_t *bits = a->bits + r * a->words;
    size_t words = (units + 63) / 64;
    *on = count_bits(bits, words);
    if (FEW(*on, units)) {
        list_words(bits, words, 0, index);
        return NULL;
    }
    spread_bits(bits, units, values);
    return values;
}

/* Memory of either way, of which a thread has its own part. Returns the bytes of so many threads.
 */
typedef struct {
    up_runs runs;
    float *values;
} up_memory;

INLINE size_t lay_out_up(const rbm_inputs_args *a, int threads, up_memory *m) {
    arena space = {.at = a->memory};
    up_memory each = {.runs = carve_up_runs(&space, &a->maps)};
    for (int i = 0; i < threads; i++) {
        carve_own_up_runs(&space, &a->maps, &each.runs);
        each.values = carve(&space, visible_units(&a->maps), sizeof *each.values);
    }
    *m = each;
    return space.bytes;
}

static size_t convolve_memory(const rbm_inputs_args *args, int threads) {
    up_memory m;
    return lay_out_up(args, threads, &m);
}

static void arrange_up(const void *args, rbm_worker *me) {
    const rbm_inputs_args a = *(const rbm_inputs_args *)args;
    up_memory m;
    lay_out_up(&a, 1, &m);
    arrange_up_runs(&a, &m.runs, me);
}

static void convolve(const void *args, rbm_worker *me) {
    const rbm_inputs_args a = *(const rbm_inputs_args *)args;
    size_t seen = visible_units(&a.maps), units = hidden_units(&a.maps);
    up_memory m;
    lay_out_up(&a, me->thread + 1, &m);
    EACH_ROW(me, 1, a.rows, r) {
        float *out = a.out + r * a.ld;
        size_t on = 0;
        const float *values = values_of_row(&a, r, seen, m.values, m.runs.index, &on);
        if (values)
            convolve_values(&a, values, out);
        else
            convolve_runs(&a, &m.runs, on, out);
        memset(out + units, 0, (a.ld - units) * sizeof *out);
    }
}

typedef struct {
    down_runs runs;
    down_values turned;
    float *values;
} down_memory;

INLINE size_t lay_out_down(const rbm_inputs_args *a, int threads, down_memory *m) {
    arena space = {.at = a->memory};
    down_memory each = {.runs = carve_down_runs(&space, &a->maps)};
    for (int i = 0; i < threads; i++) {
        carve_own_down_runs(&space, &a->maps, &each.runs);
        each.turned = carve_down_values(&space, &a->maps);
        each.values = carve(&space, hidden_units(&a->maps), sizeof *each.values);
    }
    *m = each;
    return space.bytes;
}

static size_t deconvolve_memory(const rbm_inputs_args *args, int threads) {
    down_memory m;
    return lay_out_down(args, threads, &m);
}

static void arrange_down(const void *args, rbm_worker *me) {
    const rbm_inputs_args a = *(const rbm_inputs_args *)args;
    down_memory m;
    lay_out_down(&a, me->thread + 1, &m);
    arrange_down_runs(&a, &m.runs, me);
    memset(m.turned.turned, 0, m.turned.turned_size * sizeof *m.turned.turned);
}

static void deconvolve(const void *args, rbm_worker *me) {
    const rbm_inputs_args a = *(const rbm_inputs_args *)args;
    size_t seen = hidden_units(&a.maps), units = visible_units(&a.maps);
    down_memory m;
    lay_out_down(&a, me->thread + 1, &m);
    EACH_ROW(me, 1, a.rows, r) {
        float *out = a.out + r * a.ld;
        size_t on = 0;
        const float *values = values_of_row(&a, r, seen, m.values, m.runs.index, &on);
        if (values)
            deconvolve_values(&a, &m.turned, values, out);
        else
            deconvolve_runs(&a, &m.runs, on, out);
        memset(out + units, 0, (a.ld - units) * sizeof *out);
    }
}

/* Memory of the gradient: the sums of RBM_ROWS rows each, and of a thread what either form takes.
 */
typedef struct {
    size_t sums_size;
    float *all_sums;
    gradient_runs runs;
    gradient_values values;
} gradient_memory;

INLINE size_t rows_of_sides(const rbm_correlate_args *a) {
    return a->sides[0].rows > a->sides[1].rows ? a->sides[0].rows : a->sides[1].rows;
}

INLINE size_t lay_out_gradient(const rbm_correlate_args *a, int threads, gradient_memory *m) {
    const rbm_maps *maps = &a->maps;
    arena space = {.at = a->memory};
    gradient_memory each = {.sums_size =
                                taps(maps) * ((maps->filters + LANES - 1) / LANES * LANES)};
    size_t parts = (rows_of_sides(a) + RBM_ROWS - 1) / RBM_ROWS;
    each.all_sums = carve(&space, parts * each.sums_size, sizeof *each.all_sums);
    each.runs = carve_gradient_runs(&space, a);
    for (int i = 0; i < threads; i++) {
        carve_own_gradient_runs(&space, maps, &each.runs);
        each.values = carve_gradient_values(&space, maps);
    }
    *m = each;
    return space.bytes;
}

static size_t correlate_memory(const rbm_correlate_args *args, int threads) {
    gradient_memory m;
    return lay_out_gradient(args, threads, &m);
}

static void arrange_gradient(const void *args, rbm_worker *me) {
    const rbm_correlate_args a = *(const rbm_correlate_args *)args;
    gradient_memory m;
    lay_out_gradient(&a, me->thread + 1, &m);
    if (me->thread == 0)
        place_gradient_runs(&a.maps, &m.runs);
    memset(m.runs.matrix, 0, m.runs.matrix_size * sizeof *m.runs.matrix);
}

static void correlate(const void *args, rbm_worker *me) {
    const rbm_correlate_args a = *(const rbm_correlate_args *)args;
    gradient_memory m;
    lay_out_gradient(&a, me->thread + 1, &m);
    EACH_ROW(me, RBM_ROWS, rows_of_sides(&a), r) {
        float *sums = m.all_sums + r / RBM_ROWS * m.sums_size;
        if (r % RBM_ROWS == 0)
            memset(sums, 0, m.sums_size * sizeof *sums);
        if (a.sides[0].bits)
            correlate_runs(&a, &m.runs, r, sums);
        else
            for (size_t p = 0; p < 2; p++)
                if (r < a.sides[p].rows)
                    correlate_values(&a, &a.sides[p], &m.values, r, sums);
    }
}

static void sum_gradient(const void *args, rbm_worker *me) {
    const rbm_correlate_args a = *(const rbm_correlate_args *)args;
    const rbm_maps *maps = &a.maps;
    size_t filters = maps->filters, parts = (rows_of_sides(&a) + RBM_ROWS - 1) / RBM_ROWS;
    gradient_memory m;
    lay_out_gradient(&a, 1, &m);
    EACH(me, 8, taps(maps), tap) {
        float *gradient = a.gradient + tap * a.ld;
        const float *from =
            m.all_sums + (a.sides[0].bits ? place_of_tap(maps, tap) : tap * m.values.width);
        if (!a.add)
            memset(gradient, 0, a.ld * sizeof *gradient);
        for (size_t part = 0; part < parts; part++)
            for (size_t k = 0; k < filters; k++)
                gradient[k] += from[part * m.sums_size + k];
    }
}

/* out[m] += how many of the units of map m are on. */
static void count_maps(const uint64_t *bits, size_t words, size_t maps, float *out) {
    size_t position = 0; /* the first unit of the one that the last bit was of */
    for (size_t w = 0; w < words; w++)
        for (uint64_t on = bits[w]; on; on &= on - 1) {
            size_t unit = w * 64 + (size_t)__builtin_ctzll(on);
            while (unit - position >= maps)
                position += maps;
            out[unit - position] += 1;
        }
}

static void map_sums(const void *args, rbm_worker *me) {
    const rbm_map_sums_args a = *(const rbm_map_sums_args *)args;
    EACH_ROW(me, 8, a.rows, r) {
        float *out = a.out + r * a.ld_out;
        memset(out, 0, a.ld_out * sizeof *out);
        if (a.bits && a.maps == 1)
            out[0] = (float)count_bits(a.bits + r * a.words, (a.positions + 63) / 64);
        else if (a.bits)
            count_maps(a.bits + r * a.words, (a.positions * a.maps + 63) / 64, a.maps, out);
        else
            for (size_t k = 0; k < a.maps; k += LANES) {
                size_t here = at_most_of(a.maps - k, LANES);
                vfloat sum = {0};
                for (size_t i = 0; i < a.positions; i++)
                    sum += load_first(a.values + r * a.ld + i * a.maps + k, here);
                store_first(out + k, sum, here);
            }
    }
}

/* The convolutional link for states that are bits: total inputs both ways, and the correlations of
 * visible and hidden maps.
 *
 * All three are sums of runs of floats in a matrix that is laid out for it. A pixel, for instance,
 * adds to a row of the hidden maps the weights of one filter row from right to left, all filters at
 * each: one run of the matrix added to one run of the sums. Zeros between the rows of the matrix
 * stand in where a unit reaches a part only of the sums that are held in registers. */

/* Vectors of sums that stay in registers. */
#if LANES == 16
#define MOST_SUMS 12
#else
#define MOST_SUMS 11
#endif

/* sum += the runs of the matrix from the offsets on, which are shifted, modulo 2^32. */
INLINE void sum_runs(const float *matrix, const uint32_t *offset, size_t count, uint32_t shift,
                     vfloat *sum, const int n) {
    for (size_t e = 0; e < count; e++) {
        const float *run = matrix + (uint32_t)(offset[e] + shift);
        for (int v = 0; v < n; v++)
            sum[v] += load(run + v * LANES);
    }
}

/* For N vectors of sums. add_runs: neighbouring ones, of whose last `last` lanes count; sums =
 * initial + the runs. add_patch: one vector at each of `places`; sums += the runs. */
#define SUM_RUNS(N)                                                                                \
    static void add_runs_##N(const float *matrix, const uint32_t *offset, size_t count,            \
                             uint32_t shift, const float *initial, float *sums, size_t last) {     \
        vfloat sum[N];                                                                             \
        for (int v = 0; v < N - 1; v++)                                                            \
            sum[v] = load(initial + v * LANES);                                                    \
        sum[N - 1] = load_first(initial + (N - 1) * LANES, last);                                  \
        sum_runs(matrix, offset, count, shift, sum, N);                                            \
        for (int v = 0; v < N - 1; v++)                                                            \
            store(sums + v * LANES, sum[v]);                                                       \
        store_first(sums + (N - 1) * LANES, sum[N - 1], last);                                     \
    }                                                                                              \
    static void add_patch_##N(const float *matrix, const uint32_t *offset, size_t count,           \
                              float *sums, const uint32_t *places) {                               \
        vfloat sum[N];                                                                             \
        for (int v = 0; v < N; v++)                                                                \
            sum[v] = load(sums + places[v]);                                                       \
        sum_runs(matrix, offset, count, 0, sum, N);                                                \
        for (int v = 0; v < N; v++)                                                                \
            store(sums + places[v], sum[v]);                                                       \
    }
SUM_RUNS(1)
SUM_RUNS(2)
SUM_RUNS(3)
SUM_RUNS(4)
SUM_RUNS(5)
SUM_RUNS(6)
SUM_RUNS(7)
SUM_RUNS(8)
SUM_RUNS(9)
SUM_RUNS(10)
SUM_RUNS(11)
#if MOST_SUMS > 11
SUM_RUNS(12)
#define EACH_NUMBER_OF_SUMS(name)                                                                  \
    {                                                                                              \
        0,        name##_1, name##_2, name##_3,  name##_4,  name##_5,  name##_6,                   \
        name##_7, name##_8, name##_9, name##_10, name##_11, name##_12,                             \
    }
#else
#define EACH_NUMBER_OF_SUMS(name)                                                                  \
    {                                                                                              \
        0,        name##_1, name##_2, name##_3, name##_4,  name##_5,                               \
        name##_6, name##_7, name##_8, name##_9, name##_10, name##_11,                              \
    }
#endif

typedef void add_runs_function(const float *, const uint32_t *, size_t, uint32_t, const float *,
                               float *, size_t);
typedef void add_patch_function(const float *, const uint32_t *, size_t, float *, const uint32_t *);
static add_runs_function *const add_runs[MOST_SUMS + 1] = EACH_NUMBER_OF_SUMS(add_runs);
static add_patch_function *const add_patch[MOST_SUMS + 1] = EACH_NUMBER_OF_SUMS(add_patch);

INLINE size_t hidden_units(const rbm_maps *maps) {
    return maps->hidden_height * maps->hidden_width * maps->filters;
}
INLINE size_t visible_units(const rbm_maps *maps) {
    return maps->height * maps->width * maps->channels;
}
INLINE size_t taps(const rbm_maps *maps) {
    return maps->filter_height * maps->filter_width * maps->channels;
}

/* Memory of a call, handed out piece by piece; where there is none, it is only measured. */
typedef struct {
    char *at;
    size_t bytes;
} arena;

INLINE void *carve(arena *space, size_t count, size_t size) {
    char *piece = space->at ? space->at + space->bytes : NULL;
    space->bytes += (count * size + 63) / 64 * 64;
    return piece;
}

/* Where a unit stands: its line, the first sum of a row that it reaches, and the offset of what it
 * adds there. Modulo 2^32: a unit's reach may begin before the row does. */
typedef struct {
    uint32_t line, begin, offset;
} place;

/* The units of one image that are on, in the order of their lines, and for each tile of a row of
 * sums those that reach it. */
typedef struct {
    uint32_t *begin, *offset; /* of each; the offset is of what it would add to a row's first sum */
    uint32_t *first;          /* of each line, and one beyond: its first unit */
    uint32_t *kept;           /* of each, and one beyond: its place in the list */
    uint32_t *list;           /* offsets of those that reach a tile, tile by tile */
    uint32_t *first_listed; /* of each tile, for each line and one beyond: its place in the list */
} entries;

/* first[l] = the first unit in line l or below, given that first[l + 1] is the end of line l where
 * it has units, else 0. */
INLINE void fill_first(uint32_t *first, size_t lines) {
    for (size_t l = 0; l < lines; l++)
        first[l + 1] = first[l + 1] > first[l] ? first[l + 1] : first[l];
}

/* Rows of sums, and the matrix whose runs they are made of. */
typedef struct {
    size_t width;  /* sums in a row */
    size_t length; /* sums in a row that one unit reaches, as far as there are so many */
    size_t step;   /* sums in a tile */
    size_t pitch;  /* floats from one row of the matrix to the next */
} tiling;

/* Tiles of whole positions (of `unit` sums) that are narrow beside what a unit reaches, and not so
 * narrow that each addition waits for the one before. */
INLINE tiling choose_tiles(size_t width, size_t length, size_t unit) {
    size_t step = length / 5, most = MOST_SUMS * LANES;
    step = step < 4 * LANES ? 4 * LANES : step;
    step = step > most ? most : step;
    step = unit <= step ? step / unit * unit : step;
    step = at_most_of(step, width);
    return (tiling){width, length, step, length + (step + LANES - 1) / LANES * LANES};
}

/* Floats of a matrix of so many rows, and where its first row begins. */
INLINE size_t matrix_floats(const tiling *t, size_t rows) {
    return (rows + 1) * t->pitch;
}
INLINE size_t matrix_begin(const tiling *t) {
    return t->pitch - t->length;
}

INLINE size_t tiles_in(const tiling *t) {
    return (t->width + t->step - 1) / t->step;
}

/* For up to `most` units in so many lines, each of which reaches a few tiles. */
INLINE entries carve_entries(arena *space, const tiling *t, size_t most, size_t lines) {
    entries on;
    size_t reached = (t->length + t->step - 2) / t->step + 1;
    reached = reached < tiles_in(t) ? reached : tiles_in(t);
    on.begin = carve(space, most, sizeof(uint32_t));
    on.offset = carve(space, most, sizeof(uint32_t));
    on.first = carve(space, lines + 1, sizeof(uint32_t));
    on.kept = carve(space, most + 1, sizeof(uint32_t));
    on.list = carve(space, reached * most + 1, sizeof(uint32_t));
    on.first_listed = carve(space, tiles_in(t) * (lines + 1), sizeof(uint32_t));
    return on;
}

/* List the units that reach each tile, given all of them. */
static void list_tiles(const tiling *t, const entries *on, size_t count, size_t lines) {
    uint32_t n = 0, *first_listed = on->first_listed;
    for (size_t tile = 0; tile < t->width; tile += t->step, first_listed += lines + 1) {
        size_t width = at_most_of(t->width - tile, t->step);
        uint32_t end = (uint32_t)(tile + width - 1), reach = (uint32_t)(t->length + width - 1);
        for (size_t e = 0; e < count; e++) {
            on->kept[e] = n;
            on->list[n] = on->offset[e] + (uint32_t)tile;
            n += end - on->begin[e] < reach;
        }
        on->kept[count] = n;
        for (size_t l = 0; l <= lines; l++)
            first_listed[l] = on->kept[on->first[l]];
    }
}

/* sums = initial + the runs of what lines `from` to `to` add to a tile of one row. */
INLINE void sum_tile(const float *matrix, const tiling *t, size_t tile, const entries *on,
                     const uint32_t *first_listed, size_t from, size_t to, uint32_t shift,
                     const float *initial, float *sums) {
    size_t width = at_most_of(t->width - tile, t->step);
    size_t vectors = (width + LANES - 1) / LANES;
    uint32_t first = first_listed[from], beyond = first_listed[to];
    add_runs[vectors](matrix, on->list + first, beyond - first, shift, initial, sums,
                      width - (vectors - 1) * LANES);
}

static void enter(const place *places, const uint32_t *index, size_t count, size_t lines,
                  const entries *on) {
    memset(on->first, 0, (lines + 1) * sizeof *on->first);
    for (size_t e = 0; e < count; e++) {
        const place *unit = &places[index[e]];
        on->begin[e] = unit->begin;
        on->offset[e] = unit->offset - unit->begin;
        on->first[unit->line + 1] = (uint32_t)e + 1;
    }
    fill_first(on->first, lines);
}

/* Memory of the way up: the filters as a matrix, where each visible unit goes, and the entries of
 * thread number `thread`. Returns the bytes of so many threads. */
typedef struct {
    tiling t;
    float *matrix;
    place *places;
    entries own;
} up_memory;

INLINE size_t lay_out_up(const rbm_inputs_args *a, int threads, int thread, up_memory *m) {
    *m = (up_memory){0};
    const rbm_maps *maps = &a->maps;
    size_t filters = maps->filters;
    m->t = choose_tiles(maps->hidden_width * filters, maps->filter_width * filters, filters);
    arena space = {.at = a->memory};
    m->matrix = carve(&space, matrix_floats(&m->t, maps->filter_height * maps->channels),
                      sizeof *m->matrix);
    m->places = carve(&space, visible_units(maps), sizeof *m->places);
    for (int i = 0; i < threads; i++) {
        entries own = carve_entries(&space, &m->t, visible_units(maps), maps->height);
        if (i == thread)
            m->own = own;
    }
    return space.bytes;
}

static size_t convolve_listed_memory(const rbm_inputs_args *args, int threads) {
    up_memory m;
    return lay_out_up(args, threads, 0, &m);
}

static void convolve_listed(const void *args, rbm_worker *me) {
    const rbm_inputs_args a = *(const rbm_inputs_args *)args;
    const rbm_maps *maps = &a.maps;
    const float *bias = a.bias;
    float *out = a.out;
    size_t ld = a.ld;
    size_t channels = maps->channels, filters = maps->filters, wide = maps->filter_width;
    size_t matrix_rows = maps->filter_height * channels, units = hidden_units(maps);
    up_memory m;
    lay_out_up(&a, me->threads, me->thread, &m);
    const tiling t = m.t;
    float *matrix = m.matrix;
    const entries *own = &m.own;

    if (me->thread == 0) {
        /* Matrix rows are (filter row, channel). */
        memset(matrix, 0, matrix_floats(&t, matrix_rows) * sizeof *matrix);
        for (size_t fy = 0; fy < maps->filter_height; fy++)
            for (size_t fx = 0; fx < wide; fx++)
                for (size_t c = 0; c < channels; c++)
                    memcpy(matrix + matrix_begin(&t) + (fy * channels + c) * t.pitch +
                               (wide - 1 - fx) * filters,
                           a.weights + ((fy * wide + fx) * channels + c) * a.ld_weights,
                           filters * sizeof *matrix);
        place *unit = m.places;
        for (size_t y = 0; y < maps->height; y++)
            for (size_t x = 0; x < maps->width; x++)
                for (size_t c = 0; c < channels; c++)
                    *unit++ = (place){
                        .line = (uint32_t)y,
                        .begin = ((uint32_t)x - (uint32_t)(wide - 1)) * (uint32_t)filters,
                        .offset = (uint32_t)(matrix_begin(&t) + (y * channels + c) * t.pitch)};
    }
    rbm_meet(me);

    EACH(me, 1, a.rows, r) {
        size_t count = a.start[r + 1] - a.start[r];
        enter(m.places, a.index + a.start[r], count, maps->height, own);
        list_tiles(&t, own, count, maps->height);
        for (size_t y = 0; y < maps->hidden_height; y++) {
            const uint32_t *first_listed = own->first_listed;
            for (size_t tile = 0; tile < t.width; tile += t.step) {
                size_t at = y * t.width + tile;
                sum_tile(matrix, &t, tile, own, first_listed, y, y + maps->filter_height,
                         -(uint32_t)(y * channels * t.pitch), bias + at, out + r * ld + at);
                first_listed += maps->height + 1;
            }
        }
        memset(out + r * ld + units, 0, (ld - units) * sizeof *out);
    }
}

/* The way down: a hidden unit adds its filter to a patch of the visible maps. Units of neighbouring
 * positions in one row add to the same patch, a little wider than a filter, whose vectors are kept
 * in registers meanwhile. */
typedef struct {
    size_t positions; /* that share a patch */
    size_t groups;    /* of them in a row */
    size_t vectors;   /* in a row of a patch */
} patches;

/* The patch for which a unit costs least: its vectors are added to once a unit, and read and
 * written about once per position. */
INLINE patches choose_patches(const rbm_maps *maps) {
    size_t row = maps->filter_width * maps->channels;
    size_t least = (row + LANES - 1) / LANES, most = least + (3 * maps->channels) / LANES + 2;
    patches best = {0};
    double least_cost = 0;
    for (size_t vectors = least; vectors <= most; vectors++) {
        size_t positions = (vectors * LANES - row) / maps->channels + 1;
        double cost = (double)vectors * (1 + 2.5 / (double)positions);
        if (!best.vectors || cost < least_cost) {
            best = (patches){positions, (maps->hidden_width + positions - 1) / positions, vectors};
            least_cost = cost;
        }
    }
    return best;
}

/* Memory of the way down: the filters as a matrix of so many floats, where each hidden unit goes,
 * where in the visible maps each vector of a patch, and of thread number `thread` the beginnings
 * of lines, the places of its units, and its sums. Returns the bytes of so many threads. */
typedef struct {
    patches p;
    size_t matrix_size;
    float *matrix;
    place *places;
    uint32_t *where, *first, *offset;
    float *sums;
} down_memory;

INLINE size_t lay_out_down(const rbm_inputs_args *a, int threads, int thread, down_memory *m) {
    *m = (down_memory){0};
    const rbm_maps *maps = &a->maps;
    size_t channels = maps->channels, tall = maps->filter_height;
    const patches p = m->p = choose_patches(maps);
    size_t margin = (p.positions - 1) * channels, pitch = p.vectors * LANES;
    size_t lines = maps->hidden_height * p.groups;
    size_t sums_size = visible_units(maps) + p.groups * p.positions * channels + pitch;
    m->matrix_size = margin + maps->filters * tall * pitch;
    arena space = {.at = a->memory};
    m->matrix = carve(&space, m->matrix_size, sizeof *m->matrix);
    m->places = carve(&space, hidden_units(maps), sizeof *m->places);
    m->where = carve(&space, tall * p.vectors, sizeof *m->where);
    for (int i = 0; i < threads; i++) {
        uint32_t *first = carve(&space, lines + 1, sizeof *first);
        uint32_t *offset = carve(&space, hidden_units(maps), sizeof *offset);
        float *sums = carve(&space, sums_size, sizeof *sums);
        if (i == thread)
            m->first = first, m->offset = offset, m->sums = sums;
    }
    return space.bytes;
}

static size_t deconvolve_listed_memory(const rbm_inputs_args *args, int threads) {
    down_memory m;
    return lay_out_down(args, threads, 0, &m);
}

static void deconvolve_listed(const void *args, rbm_worker *me) {
    const rbm_inputs_args a = *(const rbm_inputs_args *)args;
    const rbm_maps *maps = &a.maps;
    float *out = a.out;
    size_t channels = maps->channels, filters = maps->filters, tall = maps->filter_height;
    size_t row = maps->filter_width * channels, units = visible_units(maps);
    size_t line = maps->width * channels, ld = a.ld;
    down_memory m;
    lay_out_down(&a, me->threads, me->thread, &m);
    const patches p = m.p;
    size_t margin = (p.positions - 1) * channels, pitch = p.vectors * LANES;
    size_t lines = maps->hidden_height * p.groups, vectors = tall * p.vectors;
    size_t passes = (vectors + MOST_SUMS - 1) / MOST_SUMS, step = (vectors + passes - 1) / passes;
    float *matrix = m.matrix, *sums = m.sums;
    place *places = m.places;
    uint32_t *where = m.where, *first = m.first, *offset = m.offset;

    if (me->thread == 0) {
        /* Matrix rows are (filter, filter row). */
        memset(matrix, 0, m.matrix_size * sizeof *matrix);
        for (size_t i = 0; i < tall * row; i++)
            for (size_t k = 0; k < filters; k++)
                matrix[margin + (k * tall + i / row) * pitch + i % row] =
                    a.weights[i * a.ld_weights + k];
        for (size_t i = 0; i < vectors; i++)
            where[i] = (uint32_t)(i / p.vectors * line + i % p.vectors * LANES);
        place *unit = places;
        for (size_t y = 0; y < maps->hidden_height; y++)
            for (size_t x = 0; x < maps->hidden_width; x++)
                for (size_t k = 0; k < filters; k++)
                    *unit++ = (place){.line = (uint32_t)(y * p.groups + x / p.positions),
                                      .offset = (uint32_t)(margin - x % p.positions * channels +
                                                           k * tall * pitch)};
    }
    rbm_meet(me);

    EACH(me, 1, a.rows, r) {
        memcpy(sums, a.bias, units * sizeof *sums);
        memset(first, 0, (lines + 1) * sizeof *first);
        const uint32_t *on = a.index + a.start[r];
        for (size_t e = 0; e < a.start[r + 1] - a.start[r]; e++) {
            offset[e] = places[on[e]].offset;
            first[places[on[e]].line + 1] = (uint32_t)e + 1;
        }
        fill_first(first, lines);
        for (size_t l = 0; l < lines; l++) {
            size_t count = first[l + 1] - first[l];
            float *corner = sums + l / p.groups * line + l % p.groups * p.positions * channels;
            for (size_t v = 0; v < vectors && count; v += step)
                add_patch[at_most_of(vectors - v, step)](matrix + v * LANES, offset + first[l],
                                                         count, corner, where + v);
        }
        memcpy(out + r * ld, sums, units * sizeof *sums);
        memset(out + r * ld + units, 0, (ld - units) * sizeof *out);
    }
}

/* Gradients are summed over the rows of a chunk, in order, then over the chunks. */
#define GRADIENT_CHUNK 10

/* Floats of hidden states that are worked on at a time, to stay in the fast caches. */
#define HIDDEN_FLOATS 16384

INLINE size_t gradient_chunks(size_t rows) {
    return (rows + GRADIENT_CHUNK - 1) / GRADIENT_CHUNK;
}

/* to = scale * the rows of a matrix, `width` floats each, `ld` apart there and `pitch` here. */
static void scale_runs(const float *from, float scale, size_t rows, size_t width, size_t ld,
                       float *to, size_t pitch) {
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < width; i += LANES) {
            const float *at = from + r * ld + i;
            vfloat x = width - i < LANES ? load_first(at, width - i) : load(at);
            store(to + r * pitch + i, splat(scale) * x);
        }
}

/* Ask for what comes next, while there is other work, to the L2 cache. */
INLINE void prefetch_runs(const float *from, size_t floats) {
    for (size_t i = 0; i < floats; i += RBM_PAD)
        __builtin_prefetch(from + i, 0, 2);
}

/* to = first + second, over rows of `width` floats; whole vectors are written. */
static void add_runs_of_both(const float *first, const float *second, size_t rows, size_t width,
                             size_t pitch, float *to) {
    for (size_t r = 0; r < rows; r++)
        for (size_t i = r * pitch; i < r * pitch + width; i += LANES)
            store(to + i, load(first + i) + load(second + i));
}

/* Enter the units that are on in either of two lists, in the order of their lines, which are
 * those of one channel after the other. What a unit adds stands `part` floats further on for those
 * in the second list alone, twice as far for those in both. Returns their number. */
static size_t enter_both(const place *places, const uint32_t *index0, size_t count0,
                         const uint32_t *index1, size_t count1, uint32_t part, size_t lines,
                         const entries *on) {
    uint32_t *unit = on->kept, *shift = on->list, *next = on->first;
    size_t count = 0, i = 0, j = 0;
    memset(next, 0, (lines + 1) * sizeof *next);
    while (i < count0 || j < count1) {
        uint32_t a = i < count0 ? index0[i] : UINT32_MAX, b = j < count1 ? index1[j] : UINT32_MAX;
        uint32_t in0 = a <= b, in1 = b <= a;
        i += in0;
        j += in1;
        unit[count] = in0 ? a : b;
        shift[count] = in1 * (1 + in0) * part;
        next[places[unit[count++]].line]++;
    }
    uint32_t before = 0;
    for (size_t l = 0; l <= lines; l++) { /* where the line's next unit goes */
        uint32_t here = next[l];
        next[l] = before;
        before += here;
    }
    for (size_t e = 0; e < count; e++) {
        const place *from = &places[unit[e]];
        uint32_t to = next[from->line]++;
        on->begin[to] = from->begin;
        on->offset[to] = from->offset + shift[e] - from->begin;
    }
    for (size_t l = lines; l > 0; l--) /* the ends of lines are the beginnings of the next ones */
        next[l] = next[l - 1];
    next[0] = 0;
    return count;
}

/* gradient += the sum of the chunks' gradients, which are (channel, filter row, filter column from
 * right to left, filter). */
static void add_chunks(const float *chunks, size_t count, const rbm_maps *maps, float *gradient,
                       size_t ld, rbm_worker *me) {
    size_t wide = maps->filter_width, filters = maps->filters, size = taps(maps) * filters;
    EACH(me, 16, taps(maps), tap) {
        size_t c = tap % maps->channels, fx = tap / maps->channels % wide,
               fy = tap / maps->channels / wide;
        const float *from =
            chunks + ((c * maps->filter_height + fy) * wide + (wide - 1 - fx)) * filters;
        for (size_t chunk = 0; chunk < count; chunk++)
            for (size_t k = 0; k < filters; k++)
                gradient[tap * ld + k] += from[chunk * size + k];
    }
}

INLINE size_t rows_of_sides(const rbm_correlate_args *a) {
    return a->sides[0].rows > a->sides[1].rows ? a->sides[0].rows : a->sides[1].rows;
}

/* Memory of the gradient: the sums of each chunk, where each visible unit goes, and of thread
 * number `thread` a matrix of so many floats and its entries. The matrix has `depth` rows of the
 * hidden maps, of either side and of both: so many `parts`. Returns the bytes of all threads. */
typedef struct {
    tiling t;
    size_t parts, depth, matrix_size;
    float *all_sums, *matrix;
    place *places;
    entries own;
} gradient_memory;

INLINE size_t lay_out_gradient(const rbm_correlate_args *a, int threads, int thread,
                               gradient_memory *m) {
    *m = (gradient_memory){0};
    const rbm_maps *maps = &a->maps;
    size_t filters = maps->filters, most = visible_units(maps);
    m->t = choose_tiles(maps->filter_width * filters, maps->hidden_width * filters, filters);
    m->parts = a->sides[1].rows ? 3 : 1;
    m->depth = HIDDEN_FLOATS / (m->parts * m->t.pitch) + 1;
    if (m->depth > maps->hidden_height)
        m->depth = maps->hidden_height;
    m->matrix_size = matrix_floats(&m->t, m->parts * m->depth);
    arena space = {.at = a->memory};
    m->all_sums = carve(&space, gradient_chunks(rows_of_sides(a)) * taps(maps) * filters,
                        sizeof *m->all_sums);
    m->places = carve(&space, most, sizeof *m->places);
    for (int i = 0; i < threads; i++) {
        float *matrix = carve(&space, m->matrix_size, sizeof *matrix);
        entries own = carve_entries(&space, &m->t, most, maps->channels * maps->height);
        if (i == thread)
            m->matrix = matrix, m->own = own;
    }
    return space.bytes;
}

static size_t correlate_listed_memory(const rbm_correlate_args *args, int threads) {
    gradient_memory m;
    return lay_out_gradient(args, threads, 0, &m);
}

static void correlate_listed(const void *args, rbm_worker *me) {
    const rbm_correlate_args a = *(const rbm_correlate_args *)args;
    const rbm_maps *maps = &a.maps;
    const rbm_side *phase = a.sides;
    size_t channels = maps->channels, filters = maps->filters, wide = maps->filter_width;
    size_t tall = maps->filter_height, lines = channels * maps->height;
    size_t rows = rows_of_sides(&a), chunks = gradient_chunks(rows), ld_hidden = a.ld_hidden;
    size_t sums_size = taps(maps) * filters;
    gradient_memory m;
    lay_out_gradient(&a, me->threads, me->thread, &m);
    const tiling t = m.t;
    const entries *own = &m.own;
    size_t depth = m.depth, part = depth * t.pitch;
    float *matrix = m.matrix, *hidden = matrix + matrix_begin(&t);
    place *places = m.places;

    memset(matrix, 0, m.matrix_size * sizeof *matrix);
    if (me->thread == 0) {
        place *unit = places;
        for (size_t y = 0; y < maps->height; y++)
            for (size_t x = 0; x < maps->width; x++)
                for (size_t c = 0; c < channels; c++)
                    *unit++ =
                        (place){.line = (uint32_t)(c * maps->height + y),
                                .begin = ((uint32_t)(wide - 1) - (uint32_t)x) * (uint32_t)filters,
                                .offset = (uint32_t)(matrix_begin(&t) + y * t.pitch)};
    }
    rbm_meet(me);

    EACH(me, 1, chunks, chunk) {
        float *sums = m.all_sums + chunk * sums_size;
        memset(sums, 0, sums_size * sizeof *sums);
        size_t r = chunk * GRADIENT_CHUNK, end = r + GRADIENT_CHUNK;
        for (; r < end && r < rows; r++) {
            const uint32_t *index[2] = {NULL, NULL};
            size_t count[2] = {0, 0};
            for (size_t p = 0; p < 2; p++)
                if (r < phase[p].rows) {
                    index[p] = phase[p].index + phase[p].start[r];
                    count[p] = phase[p].start[r + 1] - phase[p].start[r];
                }
            size_t entered = enter_both(places, index[0], count[0], index[1], count[1],
                                        (uint32_t)part, lines, own);
            list_tiles(&t, own, entered, lines);

            for (size_t y = 0; y < maps->hidden_height; y += depth) {
                size_t deep = at_most_of(maps->hidden_height - y, depth);
                for (size_t p = 0; p < 2; p++)
                    if (count[p]) {
                        const float *from = phase[p].hidden + r * ld_hidden + y * t.length;
                        scale_runs(from, phase[p].scale, deep, t.length, t.length,
                                   hidden + p * part, t.pitch);
                        prefetch_runs(from + deep * t.length, deep * t.length);
                    }
                if (count[0] && count[1])
                    add_runs_of_both(hidden, hidden + part, deep, t.length, t.pitch,
                                     hidden + 2 * part);
                const uint32_t *first_listed = own->first_listed;
                for (size_t tile = 0; tile < t.width; tile += t.step, first_listed += lines + 1)
                    for (size_t c = 0; c < channels; c++)
                        for (size_t fy = 0; fy < tall; fy++) {
                            size_t line = c * maps->height + y + fy;
                            float *to = sums + (c * tall + fy) * t.width + tile;
                            sum_tile(matrix, &t, tile, own, first_listed, line, line + deep,
                                     -(uint32_t)((y + fy) * t.pitch), to, to);
                        }
            }
        }
    }
    rbm_meet(me);
    add_chunks(m.all_sums, chunks, maps, a.gradient, a.ld, me);
}

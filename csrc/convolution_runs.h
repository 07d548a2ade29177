/* The convolutional link for bits of which few are on: total inputs both ways, and the correlations
 * of visible and hidden maps, of one row of states.
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

/* Of the way up: the filters as a matrix, whose rows are (filter row, channel), where each visible
 * unit goes, and what a thread has for one row of states. */
typedef struct {
    tiling t;
    float *matrix;
    place *places;
    entries own;
    uint32_t *index; /* the units that are on */
} up_runs;

INLINE up_runs carve_up_runs(arena *space, const rbm_maps *maps) {
    up_runs m = {.t = choose_tiles(maps->hidden_width * maps->filters,
                                   maps->filter_width * maps->filters, maps->filters)};
    m.matrix =
        carve(space, matrix_floats(&m.t, maps->filter_height * maps->channels), sizeof *m.matrix);
    m.places = carve(space, visible_units(maps), sizeof *m.places);
    return m;
}

INLINE void carve_own_up_runs(arena *space, const rbm_maps *maps, up_runs *m) {
    m->own = carve_entries(space, &m->t, visible_units(maps), maps->height);
    m->index = carve(space, visible_units(maps), sizeof *m->index);
}

static void arrange_up_runs(const rbm_inputs_args *a, const up_runs *m, rbm_worker *me) {
    const rbm_maps *maps = &a->maps;
    const tiling *t = &m->t;
    size_t channels = maps->channels, filters = maps->filters, wide = maps->filter_width;
    if (me->thread == 0)
        memset(m->matrix, 0, matrix_begin(t) * sizeof *m->matrix);
    EACH(me, 1, maps->filter_height * channels, row) {
        size_t fy = row / channels, c = row % channels;
        float *to = m->matrix + matrix_begin(t) + row * t->pitch;
        for (size_t fx = 0; fx < wide; fx++)
            memcpy(to + (wide - 1 - fx) * filters,
                   a->weights + ((fy * wide + fx) * channels + c) * a->ld_weights,
                   filters * sizeof *to);
        memset(to + t->length, 0, (t->pitch - t->length) * sizeof *to);
    }
    EACH(me, 8, maps->height, y)
    for (size_t i = 0; i < maps->width * channels; i++)
        m->places[y * maps->width * channels + i] = (place){
            .line = (uint32_t)y,
            .begin = ((uint32_t)(i / channels) - (uint32_t)(wide - 1)) * (uint32_t)filters,
            .offset = (uint32_t)(matrix_begin(t) + (y * channels + i % channels) * t->pitch)};
}

/* The hidden units' total inputs, given the visible units that are on. */
static void convolve_runs(const rbm_inputs_args *a, const up_runs *m, size_t count, float *out) {
    const rbm_maps *maps = &a->maps;
    const tiling *t = &m->t;
    const entries *own = &m->own;
    enter(m->places, m->index, count, maps->height, own);
    list_tiles(t, own, count, maps->height);
    for (size_t y = 0; y < maps->hidden_height; y++) {
        const uint32_t *first_listed = own->first_listed;
        for (size_t tile = 0; tile < t->width; tile += t->step) {
            size_t at = y * t->width + tile;
            sum_tile(m->matrix, t, tile, own, first_listed, y, y + maps->filter_height,
                     -(uint32_t)(y * maps->channels * t->pitch), a->bias + at, out + at);
            first_listed += maps->height + 1;
        }
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

/* Of the way down: the filters as a matrix, whose rows are (filter, filter row), where each hidden
 * unit goes, where in the visible maps each vector of a patch; and of a thread the units that are
 * on, the beginnings of lines, the offsets of units, and sums. */
typedef struct {
    patches p;
    size_t margin, pitch, matrix_size, sums_size;
    float *matrix;
    place *places;
    uint32_t *where, *index, *first, *offset;
    float *sums;
} down_runs;

INLINE down_runs carve_down_runs(arena *space, const rbm_maps *maps) {
    down_runs m = {.p = choose_patches(maps)};
    size_t channels = maps->channels, tall = maps->filter_height;
    m.margin = (m.p.positions - 1) * channels;
    m.pitch = m.p.vectors * LANES;
    m.matrix_size = m.margin + maps->filters * tall * m.pitch;
    m.sums_size = visible_units(maps) + m.p.groups * m.p.positions * channels + m.pitch;
    m.matrix = carve(space, m.matrix_size, sizeof *m.matrix);
    m.places = carve(space, hidden_units(maps), sizeof *m.places);
    m.where = carve(space, tall * m.p.vectors, sizeof *m.where);
    return m;
}

INLINE void carve_own_down_runs(arena *space, const rbm_maps *maps, down_runs *m) {
    m->index = carve(space, hidden_units(maps), sizeof *m->index);
    m->first = carve(space, maps->hidden_height * m->p.groups + 1, sizeof *m->first);
    m->offset = carve(space, hidden_units(maps), sizeof *m->offset);
    m->sums = carve(space, m->sums_size, sizeof *m->sums);
}

static void arrange_down_runs(const rbm_inputs_args *a, const down_runs *m, rbm_worker *me) {
    const rbm_maps *maps = &a->maps;
    const patches p = m->p;
    size_t channels = maps->channels, filters = maps->filters, tall = maps->filter_height;
    size_t row = maps->filter_width * channels, line = maps->width * channels;
    if (me->thread == 0) {
        memset(m->matrix, 0, m->margin * sizeof *m->matrix);
        for (size_t i = 0; i < tall * p.vectors; i++)
            m->where[i] = (uint32_t)(i / p.vectors * line + i % p.vectors * LANES);
    }
    EACH(me, 1, filters, k)
    for (size_t fy = 0; fy < tall; fy++) {
        float *to = m->matrix + m->margin + (k * tall + fy) * m->pitch;
        for (size_t i = 0; i < row; i++)
            to[i] = a->weights[(fy * row + i) * a->ld_weights + k];
        memset(to + row, 0, (m->pitch - row) * sizeof *to);
    }
    EACH(me, 1, maps->hidden_height, y)
    for (size_t x = 0; x < maps->hidden_width; x++)
        for (size_t k = 0; k < filters; k++)
            m->places[(y * maps->hidden_width + x) * filters + k] = (place){
                .line = (uint32_t)(y * p.groups + x / p.positions),
                .offset = (uint32_t)(m->margin - x % p.positions * channels + k * tall * m->pitch)};
}

/* The visible units' total inputs, given the hidden units that are on. */
static void deconvolve_runs(const rbm_inputs_args *a, const down_runs *m, size_t count,
                            float *out) {
    const rbm_maps *maps = &a->maps;
    const patches p = m->p;
    size_t channels = maps->channels, line = maps->width * channels, units = visible_units(maps);
    size_t lines = maps->hidden_height * p.groups, vectors = maps->filter_height * p.vectors;
    size_t passes = (vectors + MOST_SUMS - 1) / MOST_SUMS, step = (vectors + passes - 1) / passes;
    memcpy(m->sums, a->bias, units * sizeof *m->sums);
    memset(m->first, 0, (lines + 1) * sizeof *m->first);
    for (size_t e = 0; e < count; e++) {
        const place *unit = &m->places[m->index[e]];
        m->offset[e] = unit->offset;
        m->first[unit->line + 1] = (uint32_t)e + 1;
    }
    fill_first(m->first, lines);
    for (size_t l = 0; l < lines; l++) {
        size_t here = m->first[l + 1] - m->first[l];
        float *corner = m->sums + l / p.groups * line + l % p.groups * p.positions * channels;
        for (size_t v = 0; v < vectors && here; v += step)
            add_patch[at_most_of(vectors - v, step)](m->matrix + v * LANES, m->offset + m->first[l],
                                                     here, corner, m->where + v);
    }
    memcpy(out, m->sums, units * sizeof *m->sums);
}

/* Floats of hidden states that are worked on at a time, to stay in the fast caches. */
#define HIDDEN_FLOATS 16384

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

/* Enter the units that are on in either of two rows of bits, of which one may be null, in the order
 * of their lines, which are those of one channel after the other. What a unit adds stands `part`
 * floats further on for those in the second row alone, twice as far for those in both. Returns
 * their number. */
static size_t enter_both(const place *places, const uint64_t *bits0, const uint64_t *bits1,
                         size_t words, uint32_t part, size_t lines, const entries *on) {
    uint32_t *unit = on->kept, *shift = on->list, *next = on->first;
    size_t count = 0;
    memset(next, 0, (lines + 1) * sizeof *next);
    for (size_t w = 0; w < words; w++) {
        uint64_t in0 = bits0 ? bits0[w] : 0, in1 = bits1 ? bits1[w] : 0;
        for (uint64_t any = in0 | in1; any; any &= any - 1) {
            unsigned bit = (unsigned)__builtin_ctzll(any);
            uint32_t first = in0 >> bit & 1, second = in1 >> bit & 1;
            unit[count] = (uint32_t)(w * 64 + bit);
            shift[count] = second * (1 + first) * part;
            next[places[unit[count++]].line]++;
        }
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

/* Of the gradient: where each visible unit goes, and of a thread a matrix and entries. The matrix
 * has `depth` rows of the hidden maps, of either side and of both: so many `parts`. */
typedef struct {
    tiling t;
    size_t parts, depth, matrix_size;
    float *matrix;
    place *places;
    entries own;
} gradient_runs;

INLINE gradient_runs carve_gradient_runs(arena *space, const rbm_correlate_args *a) {
    const rbm_maps *maps = &a->maps;
    gradient_runs m = {.t = choose_tiles(maps->filter_width * maps->filters,
                                         maps->hidden_width * maps->filters, maps->filters)};
    m.parts = a->sides[1].rows ? 3 : 1;
    m.depth = at_most_of(HIDDEN_FLOATS / (m.parts * m.t.pitch) + 1, maps->hidden_height);
    m.matrix_size = matrix_floats(&m.t, m.parts * m.depth);
    m.places = carve(space, visible_units(maps), sizeof *m.places);
    return m;
}

INLINE void carve_own_gradient_runs(arena *space, const rbm_maps *maps, gradient_runs *m) {
    m->matrix = carve(space, m->matrix_size, sizeof *m->matrix);
    m->own = carve_entries(space, &m->t, visible_units(maps), maps->channels * maps->height);
}

static void place_gradient_runs(const rbm_maps *maps, const gradient_runs *m) {
    size_t channels = maps->channels, wide = maps->filter_width, unit = 0;
    for (size_t y = 0; y < maps->height; y++)
        for (size_t x = 0; x < maps->width; x++)
            for (size_t c = 0; c < channels; c++)
                m->places[unit++] =
                    (place){.line = (uint32_t)(c * maps->height + y),
                            .begin = ((uint32_t)(wide - 1) - (uint32_t)x) * (uint32_t)maps->filters,
                            .offset = (uint32_t)(matrix_begin(&m->t) + y * m->t.pitch)};
}

/* sums, (channel, filter row, filter column from right to left, filter), += what row r of both
 * sides has. */
static void correlate_runs(const rbm_correlate_args *a, const gradient_runs *m, size_t r,
                           float *sums) {
    const rbm_maps *maps = &a->maps;
    const tiling t = m->t;
    const entries *own = &m->own;
    size_t channels = maps->channels, tall = maps->filter_height, lines = channels * maps->height;
    size_t depth = m->depth, part = depth * t.pitch, words = (visible_units(maps) + 63) / 64;
    float *hidden = m->matrix + matrix_begin(&t);
    const uint64_t *bits[2] = {NULL, NULL};
    int on[2] = {0, 0};
    for (size_t p = 0; p < 2; p++)
        if (r < a->sides[p].rows) {
            bits[p] = a->sides[p].bits + r * a->words;
            for (size_t w = 0; w < words; w++)
                on[p] |= bits[p][w] != 0;
        }
    size_t entered = enter_both(m->places, bits[0], bits[1], words, (uint32_t)part, lines, own);
    list_tiles(&t, own, entered, lines);

    for (size_t y = 0; y < maps->hidden_height; y += depth) {
        size_t deep = at_most_of(maps->hidden_height - y, depth);
        for (size_t p = 0; p < 2; p++)
            if (on[p]) {
                const float *from = a->sides[p].hidden + r * a->ld_hidden + y * t.length;
                scale_runs(from, a->sides[p].scale, deep, t.length, t.length, hidden + p * part,
                           t.pitch);
                prefetch_runs(from + deep * t.length, deep * t.length);
            }
        if (on[0] && on[1])
            add_runs_of_both(hidden, hidden + part, deep, t.length, t.pitch, hidden + 2 * part);
        const uint32_t *first_listed = own->first_listed;
        for (size_t tile = 0; tile < t.width; tile += t.step, first_listed += lines + 1)
            for (size_t c = 0; c < channels; c++)
                for (size_t fy = 0; fy < tall; fy++) {
                    size_t line = c * maps->height + y + fy;
                    float *to = sums + (c * tall + fy) * t.width + tile;
                    sum_tile(m->matrix, &t, tile, own, first_listed, line, line + deep,
                             -(uint32_t)((y + fy) * t.pitch), to, to);
                }
    }
}

/* Where the sum of a tap stands among those. */
INLINE size_t place_of_tap(const rbm_maps *maps, size_t tap) {
    size_t wide = maps->filter_width, c = tap % maps->channels, fx = tap / maps->channels % wide,
           fy = tap / maps->channels / wide;
    return ((c * maps->filter_height + fy) * wide + (wide - 1 - fx)) * maps->filters;
}

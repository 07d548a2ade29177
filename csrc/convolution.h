/* The convolutional link: total inputs both ways, and the correlations of visible and hidden maps.
 *
 * Where states are bits, all three are sums of runs of floats in a matrix that is laid out for it.
 * A pixel, for instance, adds to a row of the hidden maps the weights of one filter row from right
 * to left, all filters at each: one run of the matrix added to one run of the sums. Zeros between
 * the rows of the matrix stand in where a unit reaches a part only of the sums that are held in
 * registers. */

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
    step = step < width ? step : width;
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
        size_t width = t->width - tile < t->step ? t->width - tile : t->step;
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
    size_t width = t->width - tile < t->step ? t->width - tile : t->step;
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

static size_t convolve_listed(const float *weights, const rbm_maps *maps, size_t ld_weights,
                              const uint32_t *start, const uint32_t *index, size_t rows,
                              const float *bias, float *out, size_t ld, void *memory, int threads) {
    size_t channels = maps->channels, filters = maps->filters, wide = maps->filter_width;
    size_t matrix_rows = maps->filter_height * channels, units = hidden_units(maps);
    tiling t = choose_tiles(maps->hidden_width * filters, wide * filters, filters);

    arena space = {.at = memory};
    float *matrix = carve(&space, matrix_floats(&t, matrix_rows), sizeof *matrix);
    place *places = carve(&space, visible_units(maps), sizeof *places);
    entries *on = carve(&space, (size_t)threads, sizeof *on);
    for (int i = 0; i < threads; i++) {
        entries own = carve_entries(&space, &t, visible_units(maps), maps->height);
        if (memory)
            on[i] = own;
    }
    if (!memory)
        return space.bytes;

    /* Matrix rows are (filter row, channel). */
    memset(matrix, 0, matrix_floats(&t, matrix_rows) * sizeof *matrix);
    for (size_t fy = 0; fy < maps->filter_height; fy++)
        for (size_t fx = 0; fx < wide; fx++)
            for (size_t c = 0; c < channels; c++)
                memcpy(matrix + matrix_begin(&t) + (fy * channels + c) * t.pitch +
                           (wide - 1 - fx) * filters,
                       weights + ((fy * wide + fx) * channels + c) * ld_weights,
                       filters * sizeof *matrix);
    place *unit = places;
    for (size_t y = 0; y < maps->height; y++)
        for (size_t x = 0; x < maps->width; x++)
            for (size_t c = 0; c < channels; c++)
                *unit++ =
                    (place){.line = (uint32_t)y,
                            .begin = ((uint32_t)x - (uint32_t)(wide - 1)) * (uint32_t)filters,
                            .offset = (uint32_t)(matrix_begin(&t) + (y * channels + c) * t.pitch)};

    PARALLEL_FOR(threads, 1, start[rows] * maps->filter_height * t.length / LANES)
    for (size_t r = 0; r < rows; r++) {
        const entries *own = &on[THREAD];
        size_t count = start[r + 1] - start[r];
        enter(places, index + start[r], count, maps->height, own);
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
    return space.bytes;
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

static size_t deconvolve_listed(const float *weights, const rbm_maps *maps, size_t ld_weights,
                                const uint32_t *start, const uint32_t *index, size_t rows,
                                const float *bias, float *out, size_t ld, void *memory,
                                int threads) {
    size_t channels = maps->channels, filters = maps->filters, tall = maps->filter_height;
    size_t row = maps->filter_width * channels, units = visible_units(maps);
    size_t line = maps->width * channels;
    patches p = choose_patches(maps);
    size_t margin = (p.positions - 1) * channels, pitch = p.vectors * LANES;
    size_t lines = maps->hidden_height * p.groups, vectors = tall * p.vectors;
    size_t passes = (vectors + MOST_SUMS - 1) / MOST_SUMS, step = (vectors + passes - 1) / passes;
    size_t matrix_size = margin + filters * tall * pitch;
    size_t sums_size = units + p.groups * p.positions * channels + pitch;

    arena space = {.at = memory};
    float *matrix = carve(&space, matrix_size, sizeof *matrix);
    place *places = carve(&space, hidden_units(maps), sizeof *places);
    uint32_t *where = carve(&space, vectors, sizeof *where);
    uint32_t *firsts = carve(&space, (size_t)threads * (lines + 1), sizeof *firsts);
    uint32_t *offsets = carve(&space, (size_t)threads * hidden_units(maps), sizeof *offsets);
    float *all_sums = carve(&space, (size_t)threads * sums_size, sizeof *all_sums);
    if (!memory)
        return space.bytes;

    /* Matrix rows are (filter, filter row). */
    memset(matrix, 0, matrix_size * sizeof *matrix);
    for (size_t i = 0; i < tall * row; i++)
        for (size_t k = 0; k < filters; k++)
            matrix[margin + (k * tall + i / row) * pitch + i % row] = weights[i * ld_weights + k];
    for (size_t i = 0; i < vectors; i++)
        where[i] = (uint32_t)(i / p.vectors * line + i % p.vectors * LANES);
    place *unit = places;
    for (size_t y = 0; y < maps->hidden_height; y++)
        for (size_t x = 0; x < maps->hidden_width; x++)
            for (size_t k = 0; k < filters; k++)
                *unit++ = (place){
                    .line = (uint32_t)(y * p.groups + x / p.positions),
                    .offset = (uint32_t)(margin - x % p.positions * channels + k * tall * pitch)};

    PARALLEL_FOR(threads, 1, start[rows] * vectors)
    for (size_t r = 0; r < rows; r++) {
        uint32_t *first = firsts + (size_t)THREAD * (lines + 1);
        uint32_t *offset = offsets + (size_t)THREAD * hidden_units(maps);
        float *sums = all_sums + (size_t)THREAD * sums_size;
        memcpy(sums, bias, units * sizeof *sums);
        memset(first, 0, (lines + 1) * sizeof *first);
        const uint32_t *on = index + start[r];
        for (size_t e = 0; e < start[r + 1] - start[r]; e++) {
            offset[e] = places[on[e]].offset;
            first[places[on[e]].line + 1] = (uint32_t)e + 1;
        }
        fill_first(first, lines);
        for (size_t l = 0; l < lines; l++) {
            size_t count = first[l + 1] - first[l];
            float *corner = sums + l / p.groups * line + l % p.groups * p.positions * channels;
            for (size_t v = 0; v < vectors && count; v += step)
                add_patch[vectors - v < step ? vectors - v : step](
                    matrix + v * LANES, offset + first[l], count, corner, where + v);
        }
        memcpy(out + r * ld, sums, units * sizeof *sums);
        memset(out + r * ld + units, 0, (ld - units) * sizeof *out);
    }
    return space.bytes;
}

/* Gradients are summed over the rows of a chunk, in order, then over the chunks. */
#define GRADIENT_CHUNK 10

/* Floats of hidden states that are worked on at a time, to stay in the fast caches. */
#define HIDDEN_FLOATS 16384

INLINE size_t gradient_chunks(size_t rows) {
    return (rows + GRADIENT_CHUNK - 1) / GRADIENT_CHUNK;
}

/* One side of the gradient. */
typedef struct {
    const uint32_t *start, *index;
    const float *hidden;
    size_t rows;
    float scale;
} listed_phase;

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
                       size_t ld) {
    size_t wide = maps->filter_width, filters = maps->filters, size = taps(maps) * filters;
    for (size_t tap = 0; tap < taps(maps); tap++) {
        size_t c = tap % maps->channels, fx = tap / maps->channels % wide,
               fy = tap / maps->channels / wide;
        const float *from =
            chunks + ((c * maps->filter_height + fy) * wide + (wide - 1 - fx)) * filters;
        for (size_t chunk = 0; chunk < count; chunk++)
            for (size_t k = 0; k < filters; k++)
                gradient[tap * ld + k] += from[chunk * size + k];
    }
}

static size_t correlate_listed(const rbm_maps *maps, const uint32_t *start0, const uint32_t *index0,
                               const float *hidden0, size_t rows0, float scale0,
                               const uint32_t *start1, const uint32_t *index1, const float *hidden1,
                               size_t rows1, float scale1, size_t ld_hidden, float *gradient,
                               size_t ld, void *memory, int threads) {
    const listed_phase phase[2] = {{start0, index0, hidden0, rows0, scale0},
                                   {start1, index1, hidden1, rows1, scale1}};
    size_t channels = maps->channels, filters = maps->filters, wide = maps->filter_width;
    size_t tall = maps->filter_height, lines = channels * maps->height;
    size_t rows = rows0 > rows1 ? rows0 : rows1, chunks = gradient_chunks(rows);
    size_t sums_size = taps(maps) * filters, most = visible_units(maps);
    tiling t = choose_tiles(wide * filters, maps->hidden_width * filters, filters);
    /* The matrix: `depth` rows of the hidden maps, of either phase and of both. */
    size_t parts = rows1 ? 3 : 1, depth = HIDDEN_FLOATS / (parts * t.pitch) + 1;
    depth = depth < maps->hidden_height ? depth : maps->hidden_height;
    size_t part = depth * t.pitch, matrix_size = matrix_floats(&t, parts * depth);

    arena space = {.at = memory};
    float *all_sums = carve(&space, chunks * sums_size, sizeof *all_sums);
    place *places = carve(&space, most, sizeof *places);
    entries *on = carve(&space, (size_t)threads, sizeof *on);
    float *matrices = carve(&space, (size_t)threads * matrix_size, sizeof *matrices);
    for (int i = 0; i < threads; i++) {
        entries own = carve_entries(&space, &t, most, lines);
        if (memory)
            on[i] = own;
    }
    if (!memory)
        return space.bytes;

    memset(matrices, 0, (size_t)threads * matrix_size * sizeof *matrices);
    place *unit = places;
    for (size_t y = 0; y < maps->height; y++)
        for (size_t x = 0; x < maps->width; x++)
            for (size_t c = 0; c < channels; c++)
                *unit++ = (place){.line = (uint32_t)(c * maps->height + y),
                                  .begin = ((uint32_t)(wide - 1) - (uint32_t)x) * (uint32_t)filters,
                                  .offset = (uint32_t)(matrix_begin(&t) + y * t.pitch)};

    size_t on_bits = start0[rows0] + (rows1 ? start1[rows1] : 0);
    PARALLEL_FOR(threads, 1, on_bits * tall * t.width / LANES)
    for (size_t chunk = 0; chunk < chunks; chunk++) {
        const entries *own = &on[THREAD];
        float *matrix = matrices + (size_t)THREAD * matrix_size,
              *hidden = matrix + matrix_begin(&t);
        float *sums = all_sums + chunk * sums_size;
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
                size_t deep = maps->hidden_height - y < depth ? maps->hidden_height - y : depth;
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
    add_chunks(all_sums, chunks, maps, gradient, ld);
    return space.bytes;
}

/* Real-valued states. ---------------------------------------------------------------------------
 *
 * Register blocks of sums, as in `multiply`: rows x vectors, fewer at the edges. */

/* BLOCK(rows, vectors) of what is given, as constants. */
#if BLOCK_ROWS == 6
#define EACH_ROWS(rows, vectors, BLOCK)                                                            \
    switch (rows) {                                                                                \
    case 1:                                                                                        \
        BLOCK(1, vectors);                                                                         \
        break;                                                                                     \
    case 2:                                                                                        \
        BLOCK(2, vectors);                                                                         \
        break;                                                                                     \
    case 3:                                                                                        \
        BLOCK(3, vectors);                                                                         \
        break;                                                                                     \
    case 4:                                                                                        \
        BLOCK(4, vectors);                                                                         \
        break;                                                                                     \
    case 5:                                                                                        \
        BLOCK(5, vectors);                                                                         \
        break;                                                                                     \
    default:                                                                                       \
        BLOCK(6, vectors);                                                                         \
    }
#else
#define EACH_ROWS(rows, vectors, BLOCK)                                                            \
    switch (rows) {                                                                                \
    case 1:                                                                                        \
        BLOCK(1, vectors);                                                                         \
        break;                                                                                     \
    case 2:                                                                                        \
        BLOCK(2, vectors);                                                                         \
        break;                                                                                     \
    case 3:                                                                                        \
        BLOCK(3, vectors);                                                                         \
        break;                                                                                     \
    default:                                                                                       \
        BLOCK(4, vectors);                                                                         \
    }
#endif
#if BLOCK_VECTORS == 4
#define EACH_BLOCK(rows, vectors, BLOCK)                                                           \
    switch (vectors) {                                                                             \
    case 1:                                                                                        \
        EACH_ROWS(rows, 1, BLOCK)                                                                  \
        break;                                                                                     \
    case 2:                                                                                        \
        EACH_ROWS(rows, 2, BLOCK)                                                                  \
        break;                                                                                     \
    case 3:                                                                                        \
        EACH_ROWS(rows, 3, BLOCK)                                                                  \
        break;                                                                                     \
    default:                                                                                       \
        EACH_ROWS(rows, 4, BLOCK)                                                                  \
    }
#else
#define EACH_BLOCK(rows, vectors, BLOCK)                                                           \
    switch (vectors) {                                                                             \
    case 1:                                                                                        \
        EACH_ROWS(rows, 1, BLOCK)                                                                  \
        break;                                                                                     \
    default:                                                                                       \
        EACH_ROWS(rows, 2, BLOCK)                                                                  \
    }
#endif

INLINE size_t at_most_of(size_t left, size_t most) {
    return left < most ? left : most;
}

/* Total inputs of `rows` positions in a row of the hidden maps, n vectors of filters, of whose last
 * `last` lanes count. */
INLINE void convolve_block(const float *values, const rbm_maps *maps, const float *weights,
                           size_t ld_weights, const float *bias, size_t last, float *out,
                           const int rows, const int n) {
    size_t run = maps->filter_width * maps->channels, line = maps->width * maps->channels;
    vfloat sum[BLOCK_ROWS][BLOCK_VECTORS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < n; v++)
            sum[r][v] =
                load_first(bias + (size_t)r * maps->filters + v * LANES, v == n - 1 ? last : LANES);
    for (size_t fy = 0; fy < maps->filter_height; fy++)
        for (size_t i = 0; i < run; i++) {
            vfloat columns[BLOCK_VECTORS];
            for (int v = 0; v < n; v++)
                columns[v] = load(weights + (fy * run + i) * ld_weights + v * LANES);
            for (int r = 0; r < rows; r++) {
                vfloat x = splat(values[fy * line + (size_t)r * maps->channels + i]);
                for (int v = 0; v < n; v++)
                    sum[r][v] += x * columns[v];
            }
        }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < n; v++)
            store_first(out + (size_t)r * maps->filters + v * LANES, sum[r][v],
                        v == n - 1 ? last : LANES);
}

/* A row of the hidden maps: of values from that row on. */
static void convolve_line(const float *values, const rbm_maps *maps, const float *weights,
                          size_t ld_weights, const float *bias, float *out) {
    size_t filters = maps->filters, wide = maps->hidden_width;
    for (size_t k = 0; k < filters; k += BLOCK_VECTORS * LANES) {
        size_t width = at_most_of(filters - k, BLOCK_VECTORS * LANES);
        size_t vectors = (width + LANES - 1) / LANES, last = width - (vectors - 1) * LANES;
        for (size_t x = 0; x < wide; x += BLOCK_ROWS) {
            size_t rows = at_most_of(wide - x, BLOCK_ROWS), at = x * filters + k;
#define CONVOLVE(rows, n)                                                                          \
    convolve_block(values + x * maps->channels, maps, weights + k, ld_weights, bias + at, last,    \
                   out + at, rows, n)
            EACH_BLOCK(rows, vectors, CONVOLVE)
        }
    }
}

static size_t convolve(const float *weights, const rbm_maps *maps, size_t ld_weights,
                       const float *values, size_t ld_values, size_t rows, const float *bias,
                       float *out, size_t ld, void *memory, int threads) {
    size_t units = hidden_units(maps), width = maps->hidden_width * maps->filters;
    if (!memory)
        return 0;
    PARALLEL_FOR(threads, 1, rows * units * taps(maps) / LANES)
    for (size_t item = 0; item < rows * maps->hidden_height; item++) {
        size_t r = item / maps->hidden_height, y = item % maps->hidden_height;
        convolve_line(values + r * ld_values + y * maps->width * maps->channels, maps, weights,
                      ld_weights, bias + y * width, out + r * ld + y * width);
        if (y == 0)
            memset(out + r * ld + units, 0, (ld - units) * sizeof *out);
    }
    return 0;
}

/* The way down from real-valued states. Rows of sums are those of one channel of the visible maps.
 * `turned` is a hidden map with its columns last and zeros on either side, (hidden rows, filters,
 * pitch). */
#define DOWN_ROWS 3 /* of sums in a block: neighbouring rows of one channel, or several channels   \
                     */
#define DOWN_VECTORS 2

typedef struct {
    const float *weights; /* of the first row of sums: those of its channel */
    size_t ld, next;      /* floats from tap to tap, and from one row of sums to the next */
    const float *turned;
    size_t pitch;
} turned_link;

/* sums (rows x pitch) += what rows y to `end` of the hidden maps add to columns x and on of visible
 * row `line` and the next ones. */
INLINE void deconvolve_block(const turned_link *link, const rbm_maps *maps, size_t line, size_t y,
                             size_t end, size_t x, float *sums, const int rows, const int n) {
    size_t wide = maps->filter_width, filters = maps->filters;
    size_t most = at_most_of(x + (size_t)n * LANES, wide);
    size_t least = x < maps->hidden_width ? 0 : x + 1 - maps->hidden_width;
    vfloat sum[BLOCK_ROWS][BLOCK_VECTORS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < n; v++)
            sum[r][v] = load(sums + (size_t)r * link->pitch + x + v * LANES);
    for (; y < end; y++)
        for (size_t fx = most; fx-- > least;) {
            const float *w = link->weights + ((line - y) * wide + fx) * maps->channels * link->ld;
            const float *h = link->turned + y * filters * link->pitch + (wide - 1 - fx) + x;
            for (size_t k = 0; k < filters; k++) {
                vfloat columns[BLOCK_VECTORS];
                for (int v = 0; v < n; v++)
                    columns[v] = load(h + k * link->pitch + v * LANES);
                for (int r = 0; r < rows; r++)
                    for (int v = 0; v < n; v++)
                        sum[r][v] += splat(w[(size_t)r * link->next + k]) * columns[v];
            }
        }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < n; v++)
            store(sums + (size_t)r * link->pitch + x + v * LANES, sum[r][v]);
}

/* The same over all columns. */
static void deconvolve_columns(const turned_link *link, const rbm_maps *maps, size_t line, size_t y,
                               size_t end, size_t rows, float *sums) {
    for (size_t x = 0; y < end && x < maps->width; x += DOWN_VECTORS * LANES) {
#define DECONVOLVE(rows, n) deconvolve_block(link, maps, line, y, end, x, sums, rows, n)
        size_t vectors = at_most_of((maps->width - x + LANES - 1) / LANES, DOWN_VECTORS);
        EACH_BLOCK(rows, vectors, DECONVOLVE)
    }
}

/* Hidden rows that reach a visible row: from the one on, up to the other. */
INLINE size_t first_row_to(const rbm_maps *maps, size_t line) {
    return line + 1 < maps->filter_height ? 0 : line + 1 - maps->filter_height;
}
INLINE size_t beyond_rows_to(const rbm_maps *maps, size_t line) {
    return at_most_of(line + 1, maps->hidden_height);
}

/* Rows `line` and the next ones of one channel: first the hidden rows that do not reach all of
 * them, then those that do, then the others. */
static void deconvolve_lines(const turned_link *link, const rbm_maps *maps, size_t line,
                             size_t rows, float *sums) {
    size_t from = first_row_to(maps, line + rows - 1), to = beyond_rows_to(maps, line);
    if (from > to)
        from = to = maps->hidden_height;
    for (size_t r = 0; r < rows; r++) {
        size_t end = at_most_of(from, beyond_rows_to(maps, line + r));
        deconvolve_columns(link, maps, line + r, first_row_to(maps, line + r), end, 1,
                           sums + r * link->pitch);
    }
    deconvolve_columns(link, maps, line, from, to, rows, sums);
    for (size_t r = 0; r < rows; r++)
        deconvolve_columns(link, maps, line + r, to, beyond_rows_to(maps, line + r), 1,
                           sums + r * link->pitch);
}

static size_t deconvolve(const float *weights, const rbm_maps *maps, size_t ld_weights,
                         const float *values, size_t ld_values, size_t rows, const float *bias,
                         float *out, size_t ld, void *memory, int threads) {
    size_t filters = maps->filters, channels = maps->channels, units = visible_units(maps);
    size_t wide = maps->hidden_width, margin = maps->filter_width - 1;
    size_t pitch = margin + (maps->width + LANES - 1) / LANES * LANES;
    size_t turned_size = maps->hidden_height * filters * pitch, sums_size = DOWN_ROWS * pitch;
    /* Neighbours in a block are rows where there is one channel, else channels. */
    size_t lines_most = channels == 1 ? DOWN_ROWS : 1, channels_most = DOWN_ROWS + 1 - lines_most;
    arena space = {.at = memory};
    float *turned_maps = carve(&space, (size_t)threads * turned_size, sizeof *turned_maps);
    float *all_sums = carve(&space, (size_t)threads * sums_size, sizeof *all_sums);
    if (!memory)
        return space.bytes;
    memset(turned_maps, 0, (size_t)threads * turned_size * sizeof *turned_maps);
    memset(all_sums, 0, (size_t)threads * sums_size * sizeof *all_sums);
    PARALLEL_FOR(threads, 1, rows * hidden_units(maps) * taps(maps) / LANES)
    for (size_t r = 0; r < rows; r++) {
        float *turned = turned_maps + (size_t)THREAD * turned_size;
        float *sums = all_sums + (size_t)THREAD * sums_size;
        for (size_t position = 0; position < maps->hidden_height * wide; position++)
            for (size_t k = 0; k < filters; k++)
                turned[(position / wide * filters + k) * pitch + margin + position % wide] =
                    values[r * ld_values + position * filters + k];
        for (size_t line = 0; line < maps->height; line += lines_most)
            for (size_t c = 0; c < channels; c += channels_most) {
                size_t lines = at_most_of(maps->height - line, lines_most);
                size_t together = at_most_of(channels - c, channels_most);
                size_t at = line * maps->width * channels + c;
                turned_link link = {weights + c * ld_weights, ld_weights, ld_weights, turned,
                                    pitch};
                for (size_t i = 0; i < lines * together; i++)
                    for (size_t x = 0; x < maps->width; x++)
                        sums[i * pitch + x] =
                            bias[at + i / lines + (i % lines * maps->width + x) * channels];
                if (channels == 1) {
                    link.next *= maps->filter_width;
                    deconvolve_lines(&link, maps, line, lines, sums);
                } else
                    deconvolve_columns(&link, maps, line, first_row_to(maps, line),
                                       beyond_rows_to(maps, line), together, sums);
                for (size_t i = 0; i < lines * together; i++)
                    for (size_t x = 0; x < maps->width; x++)
                        out[r * ld + at + i / lines + (i % lines * maps->width + x) * channels] =
                            sums[i * pitch + x];
            }
        memset(out + r * ld + units, 0, (ld - units) * sizeof *out);
    }
    return space.bytes;
}

/* sums (`rows` neighbouring taps of one filter row, n vectors of filters) += visible' hidden over
 * one image's positions. */
INLINE void correlate_block(const float *values, const rbm_maps *maps, const float *hidden,
                            size_t ld_hidden, float *sums, const int rows, const int n) {
    vfloat sum[BLOCK_ROWS][BLOCK_VECTORS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < n; v++)
            sum[r][v] = load(sums + (size_t)r * ld_hidden + v * LANES);
    for (size_t y = 0; y < maps->hidden_height; y++)
        for (size_t x = 0; x < maps->hidden_width; x++) {
            const float *from = hidden + (y * maps->hidden_width + x) * ld_hidden;
            const float *seen = values + (y * maps->width + x) * maps->channels;
            vfloat columns[BLOCK_VECTORS];
            for (int v = 0; v < n; v++)
                columns[v] = load(from + v * LANES);
            for (int r = 0; r < rows; r++) {
                vfloat visible = splat(seen[r]);
                for (int v = 0; v < n; v++)
                    sum[r][v] += visible * columns[v];
            }
        }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < n; v++)
            store(sums + (size_t)r * ld_hidden + v * LANES, sum[r][v]);
}

/* sums (taps x width) += visible' hidden over one image's positions; hidden: positions x width. */
static void correlate_image(const float *values, const rbm_maps *maps, const float *hidden,
                            size_t width, float *sums) {
    size_t run = maps->filter_width * maps->channels;
    size_t blocks = (run + BLOCK_ROWS - 1) / BLOCK_ROWS, step = (run + blocks - 1) / blocks;
    for (size_t k = 0; k < width; k += BLOCK_VECTORS * LANES) {
        size_t vectors = at_most_of((width - k) / LANES, BLOCK_VECTORS);
        for (size_t fy = 0; fy < maps->filter_height; fy++)
            for (size_t i = 0; i < run; i += step) {
                size_t rows = at_most_of(run - i, step);
                const float *from = values + fy * maps->width * maps->channels + i;
                float *to = sums + (fy * run + i) * width + k;
#define CORRELATE(rows, n) correlate_block(from, maps, hidden + k, width, to, rows, n)
                EACH_BLOCK(rows, vectors, CORRELATE)
            }
    }
}

static size_t correlate(const rbm_maps *maps, const float *values, size_t ld_values,
                        const float *hidden, size_t ld_hidden, size_t rows, float scale,
                        float *gradient, size_t ld, void *memory, int threads) {
    size_t filters = maps->filters, positions = maps->hidden_height * maps->hidden_width;
    size_t chunks = gradient_chunks(rows), width = (filters + LANES - 1) / LANES * LANES;
    size_t sums_size = taps(maps) * width;
    arena space = {.at = memory};
    float *all_sums = carve(&space, chunks * sums_size, sizeof *all_sums);
    float *all_scaled = carve(&space, (size_t)threads * positions * width, sizeof *all_scaled);
    if (!memory)
        return space.bytes;
    PARALLEL_FOR(threads, 1, rows * hidden_units(maps) * taps(maps) / LANES)
    for (size_t chunk = 0; chunk < chunks; chunk++) {
        float *scaled = all_scaled + (size_t)THREAD * positions * width;
        memset(all_sums + chunk * sums_size, 0, sums_size * sizeof *all_sums);
        size_t r = chunk * GRADIENT_CHUNK, end = at_most_of(rows, r + GRADIENT_CHUNK);
        for (; r < end; r++) {
            scale_runs(hidden + r * ld_hidden, scale, positions, filters, filters, scaled, width);
            correlate_image(values + r * ld_values, maps, scaled, width,
                            all_sums + chunk * sums_size);
        }
    }
    for (size_t tap = 0; tap < taps(maps); tap++)
        for (size_t chunk = 0; chunk < chunks; chunk++)
            for (size_t k = 0; k < filters; k++)
                gradient[tap * ld + k] += all_sums[chunk * sums_size + tap * width + k];
    return space.bytes;
}

/* The convolutional link: total inputs both ways, and the correlations of visible and hidden maps.
 *
 * Where states are bits, one loop does all three. A row of sums (a row of the hidden map, of the
 * visible map, or of the gradient) lies in memory as one run of floats. A unit that is on adds to a
 * piece of that run, and what it adds is a run of floats as well, if the matrix is laid out for it:
 * for a pixel and a row of the hidden map, say, the weights of a filter row from right to left, all
 * filters at each. So a tile of the row is kept in registers, and every unit that reaches it adds
 * the floats found at an offset into the matrix. Zeros between the rows of the matrix stand in
 * where a unit reaches a part of the tile only. */

/* Vectors in a tile. */
#if LANES == 16
#define MOST_SPAN 8
#else
#define MOST_SPAN 10
#endif

/* to = initial + the spans of the matrix listed, over n vectors, of whose last `last` lanes count.
 * Offsets are shifted, modulo 2^32. */
INLINE void sum_spans(const float *matrix, const uint32_t *offset, size_t count, uint32_t shift,
                      const float *initial, size_t last, float *out, const int n) {
    vfloat sum[MOST_SPAN];
    for (int v = 0; v < n - 1; v++)
        sum[v] = load(initial + v * LANES);
    sum[n - 1] = load_first(initial + (n - 1) * LANES, last);
    for (size_t e = 0; e < count; e++) {
        const float *span = matrix + (uint32_t)(offset[e] + shift);
        for (int v = 0; v < n; v++)
            sum[v] += load(span + v * LANES);
    }
    for (int v = 0; v < n - 1; v++)
        store(out + v * LANES, sum[v]);
    store_first(out + (n - 1) * LANES, sum[n - 1], last);
}

#define SUM_SPANS(N)                                                                               \
    static void sum_spans_##N(const float *matrix, const uint32_t *offset, size_t count,           \
                              uint32_t shift, const float *initial, size_t last, float *out) {     \
        sum_spans(matrix, offset, count, shift, initial, last, out, N);                            \
    }
SUM_SPANS(1)
SUM_SPANS(2)
SUM_SPANS(3)
SUM_SPANS(4)
SUM_SPANS(5)
SUM_SPANS(6)
SUM_SPANS(7)
SUM_SPANS(8)
#if MOST_SPAN > 8
SUM_SPANS(9)
SUM_SPANS(10)
#endif

typedef void sum_spans_function(const float *, const uint32_t *, size_t, uint32_t, const float *,
                                size_t, float *);
static sum_spans_function *const sum_spans_of[MOST_SPAN + 1] = {
    0,           sum_spans_1,  sum_spans_2, sum_spans_3, sum_spans_4,
    sum_spans_5, sum_spans_6,  sum_spans_7, sum_spans_8,
#if MOST_SPAN > 8
    sum_spans_9, sum_spans_10,
#endif
};

/* How the sums of one map are made of the states of another. */
typedef struct {
    size_t lines;         /* rows of the map of states */
    size_t before, after; /* row l of sums is reached from the lines l - before .. l + after - 1 */
    size_t rows, width;   /* rows of sums, and sums in one */
    size_t length;        /* sums in a row that one unit reaches, as far as there are so many */
    uint32_t slope;       /* what offsets change by from one row of sums to the next */
    size_t step;          /* sums in a tile */
    size_t pitch;         /* floats from one row of the matrix to the next */
} windows;

/* Where a unit stands: its line, the first sum of a row that it reaches (which may lie before the
 * row), and the offset of what it adds there, both modulo 2^32. */
typedef struct {
    uint32_t line, channel, begin, offset;
} place;

/* The units of one image that are on. */
typedef struct {
    uint32_t *begin;  /* of each */
    uint32_t *offset; /* of each: what it would add to the first sum of the row */
    uint32_t *first;  /* of each line and one beyond: its first unit in these lists */
    uint32_t *kept;   /* of each and one beyond: how many before it reach the tile */
    uint32_t *list;   /* offsets of those that do */
} entries;

/* Tiles of whole positions (of `unit` sums) that are narrow beside what a unit reaches, and not so
 * narrow that each addition waits for the one before. */
INLINE void choose_tile(windows *w, size_t unit) {
    size_t step = w->length / 5, most = MOST_SPAN * LANES;
    step = step < 4 * LANES ? 4 * LANES : step;
    step = step > most ? most : step;
    step = unit <= step ? step / unit * unit : step;
    w->step = step < w->width ? step : w->width;
    w->pitch = w->length + (w->step + LANES - 1) / LANES * LANES;
}

/* Floats that a matrix of so many rows takes, and where its first row begins. */
INLINE size_t matrix_floats(const windows *w, size_t rows) {
    return (rows + 1) * w->pitch;
}
INLINE size_t matrix_begin(const windows *w) {
    return w->pitch - w->length;
}

static void sum_windows(const float *matrix, const windows *w, const entries *on, size_t count,
                        const float *initial, float *out) {
    for (size_t tile = 0; tile < w->width; tile += w->step) {
        size_t width = w->width - tile < w->step ? w->width - tile : w->step;
        size_t vectors = (width + LANES - 1) / LANES, last = width - (vectors - 1) * LANES;
        uint32_t kept = 0, end = (uint32_t)(tile + width - 1);
        for (size_t e = 0; e < count; e++) {
            on->kept[e] = kept;
            on->list[kept] = on->offset[e] + (uint32_t)tile;
            kept += end - on->begin[e] < w->length + width - 1;
        }
        on->kept[count] = kept;
        for (size_t row = 0; row < w->rows; row++) {
            size_t from = row < w->before ? 0 : row - w->before, to = row + w->after;
            size_t e = on->kept[on->first[from < w->lines ? from : w->lines]];
            size_t beyond = on->kept[on->first[to < w->lines ? to : w->lines]];
            size_t at = row * w->width + tile;
            sum_spans_of[vectors](matrix, on->list + e, beyond - e, (uint32_t)row * w->slope,
                                  initial + at, last, out + at);
        }
    }
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

INLINE entries carve_entries(arena *space, size_t most, size_t lines) {
    entries on;
    on.begin = carve(space, most, sizeof(uint32_t));
    on.offset = carve(space, most, sizeof(uint32_t));
    on.first = carve(space, lines + 1, sizeof(uint32_t));
    on.kept = carve(space, most + 1, sizeof(uint32_t));
    on.list = carve(space, most + 1, sizeof(uint32_t));
    return on;
}

INLINE size_t hidden_units(const rbm_maps *maps) {
    return maps->hidden_height * maps->hidden_width * maps->filters;
}
INLINE size_t visible_units(const rbm_maps *maps) {
    return maps->height * maps->width * maps->channels;
}
INLINE size_t taps(const rbm_maps *maps) {
    return maps->filter_height * maps->filter_width * maps->channels;
}

/* first[l] = the first of `count` units in line l or below; first[l + 1] must be the end of line l
 * where it has units, else 0. */
INLINE void fill_first(uint32_t *first, size_t lines) {
    for (size_t l = 0; l < lines; l++)
        first[l + 1] = first[l + 1] > first[l] ? first[l + 1] : first[l];
}

static void list_entries(const place *places, const uint32_t *index, size_t count, size_t lines,
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

/* out = bias + the windows of each row's units. */
static void sum_all_windows(const float *matrix, const windows *w, const place *places,
                            const uint32_t *start, const uint32_t *index, size_t rows,
                            const float *bias, float *out, size_t units, size_t ld,
                            const entries *on, int threads) {
    PARALLEL_FOR(threads, 1, start[rows] * w->length / LANES)
    for (size_t r = 0; r < rows; r++) {
        const entries *mine = &on[THREAD];
        size_t count = start[r + 1] - start[r];
        list_entries(places, index + start[r], count, w->lines, mine);
        sum_windows(matrix, w, mine, count, bias, out + r * ld);
        memset(out + r * ld + units, 0, (ld - units) * sizeof *out);
    }
}

static size_t convolve_listed(const float *weights, const rbm_maps *maps, size_t ld_weights,
                              const uint32_t *start, const uint32_t *index, size_t rows,
                              const float *bias, float *out, size_t ld, void *memory, int threads) {
    size_t channels = maps->channels, filters = maps->filters, wide = maps->filter_width;
    windows w = {.lines = maps->height,
                 .after = maps->filter_height,
                 .rows = maps->hidden_height,
                 .width = maps->hidden_width * filters,
                 .length = wide * filters};
    choose_tile(&w, filters);
    w.slope = -(uint32_t)(channels * w.pitch);

    size_t matrix_rows = maps->filter_height * channels;
    arena space = {.at = memory};
    float *matrix = carve(&space, matrix_floats(&w, matrix_rows), sizeof *matrix);
    place *places = carve(&space, visible_units(maps), sizeof *places);
    entries *on = carve(&space, (size_t)threads, sizeof *on);
    for (int t = 0; t < threads; t++) {
        entries one = carve_entries(&space, visible_units(maps), w.lines);
        if (memory)
            on[t] = one;
    }
    if (!memory)
        return space.bytes;

    memset(matrix, 0, matrix_floats(&w, matrix_rows) * sizeof *matrix);
    for (size_t fy = 0; fy < maps->filter_height; fy++)
        for (size_t fx = 0; fx < wide; fx++)
            for (size_t c = 0; c < channels; c++)
                memcpy(matrix + matrix_begin(&w) + (fy * channels + c) * w.pitch +
                           (wide - 1 - fx) * filters,
                       weights + ((fy * wide + fx) * channels + c) * ld_weights,
                       filters * sizeof *matrix);
    place *unit = places;
    for (size_t y = 0; y < maps->height; y++)
        for (size_t x = 0; x < maps->width; x++)
            for (size_t c = 0; c < channels; c++)
                *unit++ =
                    (place){.line = (uint32_t)y,
                            .channel = (uint32_t)c,
                            .begin = ((uint32_t)x - (uint32_t)(wide - 1)) * (uint32_t)filters,
                            .offset = (uint32_t)(matrix_begin(&w) + (y * channels + c) * w.pitch)};
    sum_all_windows(matrix, &w, places, start, index, rows, bias, out, hidden_units(maps), ld, on,
                    threads);
    return space.bytes;
}

static size_t deconvolve_listed(const float *weights, const rbm_maps *maps, size_t ld_weights,
                                const uint32_t *start, const uint32_t *index, size_t rows,
                                const float *bias, float *out, size_t ld, void *memory,
                                int threads) {
    size_t channels = maps->channels, filters = maps->filters, wide = maps->filter_width;
    windows w = {.lines = maps->hidden_height,
                 .before = maps->filter_height - 1,
                 .after = 1,
                 .rows = maps->height,
                 .width = maps->width * channels,
                 .length = wide * channels};
    choose_tile(&w, channels);
    w.slope = (uint32_t)(filters * w.pitch);

    size_t matrix_rows = maps->filter_height * filters;
    arena space = {.at = memory};
    float *matrix = carve(&space, matrix_floats(&w, matrix_rows), sizeof *matrix);
    place *places = carve(&space, hidden_units(maps), sizeof *places);
    entries *on = carve(&space, (size_t)threads, sizeof *on);
    for (int t = 0; t < threads; t++) {
        entries one = carve_entries(&space, hidden_units(maps), w.lines);
        if (memory)
            on[t] = one;
    }
    if (!memory)
        return space.bytes;

    memset(matrix, 0, matrix_floats(&w, matrix_rows) * sizeof *matrix);
    for (size_t fy = 0; fy < maps->filter_height; fy++)
        for (size_t i = 0; i < w.length; i++)
            for (size_t k = 0; k < filters; k++)
                matrix[matrix_begin(&w) + (fy * filters + k) * w.pitch + i] =
                    weights[(fy * w.length + i) * ld_weights + k];
    place *unit = places;
    for (size_t y = 0; y < maps->hidden_height; y++)
        for (size_t x = 0; x < maps->hidden_width; x++)
            for (size_t k = 0; k < filters; k++)
                *unit++ = (place){.line = (uint32_t)y,
                                  .channel = (uint32_t)k,
                                  .begin = (uint32_t)(x * channels),
                                  .offset = (uint32_t)(matrix_begin(&w) + k * w.pitch) -
                                            (uint32_t)(y * filters * w.pitch)};
    sum_all_windows(matrix, &w, places, start, index, rows, bias, out, visible_units(maps), ld, on,
                    threads);
    return space.bytes;
}

/* Gradients are summed over the rows of a chunk, in order, then over the chunks. */
#define GRADIENT_CHUNK 10

INLINE size_t gradient_chunks(size_t rows) {
    return (rows + GRADIENT_CHUNK - 1) / GRADIENT_CHUNK;
}

/* to = first, or scale0 * first + scale1 * second, over the rows of a hidden map, each of which is
 * `width` floats there and `pitch` floats here. */
static void frame(const float *hidden, float scale, size_t rows, size_t width, size_t pitch,
                  float *to) {
    for (size_t y = 0; y < rows; y++)
        for (size_t i = 0; i < width; i += LANES) {
            size_t left = width - i;
            const float *from = hidden + y * width + i;
            vfloat h = left < LANES ? load_first(from, left) : load(from);
            store(to + y * pitch + i, splat(scale) * h);
        }
}

/* to = first + second, over `floats` floats, whole vectors. */
static void add_frames(const float *first, const float *second, size_t floats, float *to) {
    size_t i = 0;
    for (; i + LANES <= floats; i += LANES)
        store(to + i, load(first + i) + load(second + i));
    for (; i < floats; i++)
        to[i] = first[i] + second[i];
}

/* The units on in either of two lists, `frame` floats on for those in the second alone, twice as
 * far for those in both. Only units of one channel. */
static size_t merge_entries(const place *places, size_t channel, const uint32_t *index0,
                            size_t count0, const uint32_t *index1, size_t count1, size_t frame_size,
                            size_t lines, const entries *on) {
    size_t e = 0, i = 0, j = 0;
    memset(on->first, 0, (lines + 1) * sizeof *on->first);
    while (i < count0 || j < count1) {
        uint32_t a = i < count0 ? index0[i] : UINT32_MAX, b = j < count1 ? index1[j] : UINT32_MAX;
        uint32_t in0 = a <= b, in1 = b <= a;
        const place *unit = &places[in0 ? a : b];
        i += in0;
        j += in1;
        if (unit->channel != channel)
            continue;
        on->begin[e] = unit->begin;
        on->offset[e] = unit->offset - unit->begin + in1 * (1 + in0) * (uint32_t)frame_size;
        on->first[unit->line + 1] = (uint32_t)++e;
    }
    fill_first(on->first, lines);
    return e;
}

typedef struct {
    const uint32_t *start, *index;
    const float *hidden;
    size_t rows;
    float scale;
} listed_phase;

/* gradient += the sum of the chunks' gradients, which are channels x filter rows x (from right to
 * left) columns x filters. */
static void add_chunks(const float *chunks, size_t count, const rbm_maps *maps, float *gradient,
                       size_t ld) {
    size_t wide = maps->filter_width, filters = maps->filters, size = taps(maps) * filters;
    for (size_t tap = 0; tap < taps(maps); tap++) {
        size_t c = tap % maps->channels, fx = tap / maps->channels % wide,
               fy = tap / maps->channels / wide;
        const float *from =
            chunks + ((c * maps->filter_height + fy) * wide + (wide - 1 - fx)) * filters;
        float *to = gradient + tap * ld;
        for (size_t chunk = 0; chunk < count; chunk++)
            for (size_t k = 0; k < filters; k++)
                to[k] += from[chunk * size + k];
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
    size_t rows = rows0 > rows1 ? rows0 : rows1, chunks = gradient_chunks(rows);
    size_t gradient_floats = taps(maps) * filters;
    windows w = {.lines = maps->height,
                 .after = maps->hidden_height,
                 .rows = maps->filter_height,
                 .width = wide * filters,
                 .length = maps->hidden_width * filters};
    choose_tile(&w, filters);
    w.slope = -(uint32_t)w.pitch;

    size_t frame_size = maps->hidden_height * w.pitch, frames = rows1 ? 3 : 1;
    size_t frames_floats = matrix_floats(&w, frames * maps->hidden_height);
    arena space = {.at = memory};
    float *sums = carve(&space, chunks * gradient_floats, sizeof *sums);
    place *places = carve(&space, visible_units(maps), sizeof *places);
    entries *on = carve(&space, (size_t)threads, sizeof *on);
    float *matrices = carve(&space, (size_t)threads * frames_floats, sizeof *matrices);
    for (int t = 0; t < threads; t++) {
        entries one = carve_entries(&space, visible_units(maps), w.lines);
        if (memory)
            on[t] = one;
    }
    if (!memory)
        return space.bytes;

    memset(matrices, 0, (size_t)threads * frames_floats * sizeof *matrices);
    place *unit = places;
    for (size_t y = 0; y < maps->height; y++)
        for (size_t x = 0; x < maps->width; x++)
            for (size_t c = 0; c < channels; c++)
                *unit++ = (place){.line = (uint32_t)y,
                                  .channel = (uint32_t)c,
                                  .begin = ((uint32_t)(wide - 1) - (uint32_t)x) * (uint32_t)filters,
                                  .offset = (uint32_t)(matrix_begin(&w) + y * w.pitch)};
    size_t on_bits = start0[rows0] + (rows1 ? start1[rows1] : 0);
    PARALLEL_FOR(threads, 1, on_bits * maps->filter_height * wide * filters / LANES)
    for (size_t chunk = 0; chunk < chunks; chunk++) {
        const entries *mine = &on[THREAD];
        float *matrix = matrices + (size_t)THREAD * frames_floats;
        float *sum = sums + chunk * gradient_floats;
        memset(sum, 0, gradient_floats * sizeof *sum);
        size_t r = chunk * GRADIENT_CHUNK, end = r + GRADIENT_CHUNK;
        for (; r < end && r < rows; r++) {
            const uint32_t *index[2] = {NULL, NULL};
            size_t count[2] = {0, 0};
            float *to = matrix + matrix_begin(&w);
            for (size_t p = 0; p < 2; p++)
                if (r < phase[p].rows) {
                    index[p] = phase[p].index + phase[p].start[r];
                    count[p] = phase[p].start[r + 1] - phase[p].start[r];
                    frame(phase[p].hidden + r * ld_hidden, phase[p].scale, maps->hidden_height,
                          w.length, w.pitch, to + p * frame_size);
                }
            if (count[0] && count[1])
                add_frames(to, to + frame_size, frame_size, to + 2 * frame_size);
            for (size_t c = 0; c < channels; c++) {
                size_t entered = merge_entries(places, c, index[0], count[0], index[1], count[1],
                                               frame_size, w.lines, mine);
                float *of_channel = sum + c * w.rows * w.width;
                sum_windows(matrix, &w, mine, entered, of_channel, of_channel);
            }
        }
    }
    add_chunks(sums, chunks, maps, gradient, ld);
    return space.bytes;
}

/* Real-valued states. ---------------------------------------------------------------------------
 */

/* A block of total inputs: `rows` positions from (y, x) on, n vectors of filters. */
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

static size_t convolve(const float *weights, const rbm_maps *maps, size_t ld_weights,
                       const float *values, size_t ld_values, size_t rows, const float *bias,
                       float *out, size_t ld, void *memory, int threads) {
    size_t filters = maps->filters, wide = maps->hidden_width, units = hidden_units(maps);
    if (!memory)
        return 0;
    PARALLEL_FOR(threads, 1, rows * units * taps(maps) / LANES)
    for (size_t item = 0; item < rows * maps->hidden_height; item++) {
        size_t r = item / maps->hidden_height, y = item % maps->hidden_height;
        const float *from = values + r * ld_values + y * maps->width * maps->channels;
        size_t at = y * wide * filters;
        for (size_t k = 0; k < filters; k += BLOCK_VECTORS * LANES) {
            int full = filters - k >= BLOCK_VECTORS * LANES;
            for (size_t x = 0; x < wide; x += BLOCK_ROWS) {
                if (full && wide - x >= BLOCK_ROWS)
                    convolve_block(from + x * maps->channels, maps, weights + k, ld_weights,
                                   bias + at + x * filters + k, LANES,
                                   out + r * ld + at + x * filters + k, BLOCK_ROWS, BLOCK_VECTORS);
                else
                    for (size_t i = x; i < x + BLOCK_ROWS && i < wide; i++)
                        for (size_t l = k; l < k + BLOCK_VECTORS * LANES && l < filters; l += LANES)
                            convolve_block(from + i * maps->channels, maps, weights + l, ld_weights,
                                           bias + at + i * filters + l,
                                           filters - l < LANES ? filters - l : LANES,
                                           out + r * ld + at + i * filters + l, 1, 1);
            }
        }
        if (y == 0)
            memset(out + r * ld + units, 0, (ld - units) * sizeof *out);
    }
    return 0;
}

/* Total inputs of a row of one channel of the visible map, n vectors of it. `turned` is the hidden
 * map with its columns last, zeros on either side: (hidden rows, filters, pitch). */
INLINE void deconvolve_block(const float *weights, const rbm_maps *maps, size_t ld_weights,
                             const float *turned, size_t pitch, size_t line, float *sums,
                             const int n) {
    vfloat sum[MOST_SPAN];
    size_t tall = maps->filter_height, wide = maps->filter_width, filters = maps->filters;
    for (int v = 0; v < n; v++)
        sum[v] = load(sums + v * LANES);
    for (size_t y = line + 1 < tall ? 0 : line + 1 - tall; y <= line && y < maps->hidden_height;
         y++)
        for (size_t fx = wide; fx-- > 0;) {
            const float *w = weights + ((line - y) * wide + fx) * maps->channels * ld_weights;
            const float *h = turned + y * filters * pitch + (wide - 1 - fx);
            for (size_t k = 0; k < filters; k++)
                for (int v = 0; v < n; v++)
                    sum[v] += splat(w[k]) * load(h + k * pitch + v * LANES);
        }
    for (int v = 0; v < n; v++)
        store(sums + v * LANES, sum[v]);
}

static size_t deconvolve(const float *weights, const rbm_maps *maps, size_t ld_weights,
                         const float *values, size_t ld_values, size_t rows, const float *bias,
                         float *out, size_t ld, void *memory, int threads) {
    size_t filters = maps->filters, channels = maps->channels, units = visible_units(maps);
    size_t width = (maps->width + LANES - 1) / LANES * LANES, margin = maps->filter_width - 1;
    size_t pitch = width + margin, turned_floats = maps->hidden_height * filters * pitch;
    arena space = {.at = memory};
    float *turned_maps = carve(&space, (size_t)threads * turned_floats, sizeof *turned_maps);
    float *lines = carve(&space, (size_t)threads * width, sizeof *lines);
    if (!memory)
        return space.bytes;
    memset(turned_maps, 0, (size_t)threads * turned_floats * sizeof *turned_maps);
    PARALLEL_FOR(threads, 1, rows * hidden_units(maps) * taps(maps) / LANES)
    for (size_t r = 0; r < rows; r++) {
        float *turned = turned_maps + (size_t)THREAD * turned_floats;
        float *line = lines + (size_t)THREAD * width;
        const float *hidden = values + r * ld_values;
        for (size_t y = 0; y < maps->hidden_height; y++)
            for (size_t x = 0; x < maps->hidden_width; x++)
                for (size_t k = 0; k < filters; k++)
                    turned[(y * filters + k) * pitch + margin + x] =
                        hidden[(y * maps->hidden_width + x) * filters + k];
        for (size_t y = 0; y < maps->height; y++)
            for (size_t c = 0; c < channels; c++) {
                size_t at = y * maps->width * channels + c;
                memset(line, 0, width * sizeof *line);
                for (size_t x = 0; x < maps->width; x++)
                    line[x] = bias[at + x * channels];
                size_t x = 0;
                for (; x + 4 * LANES <= width; x += 4 * LANES)
                    deconvolve_block(weights + c * ld_weights, maps, ld_weights, turned + x, pitch,
                                     y, line + x, 4);
                for (; x < width; x += LANES)
                    deconvolve_block(weights + c * ld_weights, maps, ld_weights, turned + x, pitch,
                                     y, line + x, 1);
                for (x = 0; x < maps->width; x++)
                    out[r * ld + at + x * channels] = line[x];
            }
        memset(out + r * ld + units, 0, (ld - units) * sizeof *out);
    }
    return space.bytes;
}

/* sum (`rows` taps of one filter row from (fy, i) on) += visible' hidden over one image's
 * positions. */
INLINE void correlate_block(const float *values, const rbm_maps *maps, const float *hidden,
                            size_t ld_hidden, float *sums, const int rows, const int n) {
    vfloat sum[BLOCK_ROWS][BLOCK_VECTORS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < n; v++)
            sum[r][v] = load(sums + (size_t)r * ld_hidden + v * LANES);
    for (size_t y = 0; y < maps->hidden_height; y++)
        for (size_t x = 0; x < maps->hidden_width; x++) {
            const float *from = hidden + (y * maps->hidden_width + x) * ld_hidden;
            vfloat columns[BLOCK_VECTORS];
            for (int v = 0; v < n; v++)
                columns[v] = load(from + v * LANES);
            for (int r = 0; r < rows; r++) {
                vfloat visible = splat(values[(y * maps->width + x) * maps->channels + (size_t)r]);
                for (int v = 0; v < n; v++)
                    sum[r][v] += visible * columns[v];
            }
        }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < n; v++)
            store(sums + (size_t)r * ld_hidden + v * LANES, sum[r][v]);
}

static size_t correlate(const rbm_maps *maps, const float *values, size_t ld_values,
                        const float *hidden, size_t ld_hidden, size_t rows, float scale,
                        float *gradient, size_t ld, void *memory, int threads) {
    size_t filters = maps->filters, positions = maps->hidden_height * maps->hidden_width;
    size_t chunks = gradient_chunks(rows), run = maps->filter_width * maps->channels;
    size_t width = (filters + LANES - 1) / LANES * LANES;
    arena space = {.at = memory};
    float *sums = carve(&space, chunks * taps(maps) * width, sizeof *sums);
    float *frames = carve(&space, (size_t)threads * positions * width, sizeof *frames);
    if (!memory)
        return space.bytes;
    PARALLEL_FOR(threads, 1, rows * hidden_units(maps) * taps(maps) / LANES)
    for (size_t chunk = 0; chunk < chunks; chunk++) {
        float *scaled = frames + (size_t)THREAD * positions * width;
        float *sum = sums + chunk * taps(maps) * width;
        memset(sum, 0, taps(maps) * width * sizeof *sum);
        size_t r = chunk * GRADIENT_CHUNK, end = r + GRADIENT_CHUNK;
        for (; r < end && r < rows; r++) {
            frame(hidden + r * ld_hidden, scale, positions, filters, width, scaled);
            for (size_t fy = 0; fy < maps->filter_height; fy++)
                for (size_t k = 0; k < width; k += BLOCK_VECTORS * LANES)
                    for (size_t i = 0; i < run; i += BLOCK_ROWS) {
                        const float *from =
                            values + r * ld_values + fy * maps->width * maps->channels + i;
                        float *to = sum + (fy * run + i) * width + k;
                        if (width - k >= BLOCK_VECTORS * LANES && run - i >= BLOCK_ROWS)
                            correlate_block(from, maps, scaled + k, width, to, BLOCK_ROWS,
                                            BLOCK_VECTORS);
                        else
                            for (size_t j = 0; j < BLOCK_ROWS && i + j < run; j++)
                                for (size_t l = 0; l < BLOCK_VECTORS * LANES && k + l < width;
                                     l += LANES)
                                    correlate_block(from + j, maps, scaled + k + l, width,
                                                    to + j * width + l, 1, 1);
                    }
        }
    }
    for (size_t tap = 0; tap < taps(maps); tap++)
        for (size_t chunk = 0; chunk < chunks; chunk++)
            for (size_t k = 0; k < filters; k++)
                gradient[tap * ld + k] += sums[(chunk * taps(maps) + tap) * width + k];
    return space.bytes;
}

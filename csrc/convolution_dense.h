/* The convolutional link for real-valued states: register blocks of sums, as in `multiply`, rows x
 * vectors, fewer at the edges. */

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
#define DOWN_ROWS                                                                                  \
    3 /* of sums in a block: neighbouring rows of one channel, or several channels                 \
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
    PARALLEL_FOR(threads, 16, chunks * sums_size / LANES)
    for (size_t tap = 0; tap < taps(maps); tap++)
        for (size_t chunk = 0; chunk < chunks; chunk++)
            for (size_t k = 0; k < filters; k++)
                gradient[tap * ld + k] += all_sums[chunk * sums_size + tap * width + k];
    return space.bytes;
}

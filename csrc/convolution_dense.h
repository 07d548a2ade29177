/* The convolutional link for real-valued states: register blocks of sums, as in `multiply`, rows x
 * vectors, fewer at the edges. */

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
                    sum[r][v] = multiply_add(x, columns[v], sum[r][v]);
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

/* The hidden units' total inputs, given the visible states. */
static void convolve_values(const rbm_inputs_args *a, const float *values, float *out) {
    const rbm_maps *maps = &a->maps;
    size_t width = maps->hidden_width * maps->filters, line = maps->width * maps->channels;
    for (size_t y = 0; y < maps->hidden_height; y++)
        convolve_line(values + y * line, maps, a->weights, a->ld_weights, a->bias + y * width,
                      out + y * width);
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
                        sum[r][v] = multiply_add(splat(w[(size_t)r * link->next + k]), columns[v],
                                                 sum[r][v]);
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

/* Of a thread: a turned map, whose margins are to be 0, and sums. */
typedef struct {
    size_t pitch, turned_size, sums_size;
    float *turned, *sums;
} down_values;

INLINE down_values carve_down_values(arena *space, const rbm_maps *maps) {
    down_values m = {.pitch = maps->filter_width - 1 + (maps->width + LANES - 1) / LANES * LANES};
    m.turned_size = maps->hidden_height * maps->filters * m.pitch;
    m.sums_size = DOWN_ROWS * m.pitch;
    m.turned = carve(space, m.turned_size, sizeof *m.turned);
    m.sums = carve(space, m.sums_size, sizeof *m.sums);
    return m;
}

/* The visible units' total inputs, given the hidden states. */
static void deconvolve_values(const rbm_inputs_args *a, const down_values *m, const float *values,
                              float *out) {
    const rbm_maps *maps = &a->maps;
    size_t filters = maps->filters, channels = maps->channels;
    size_t wide = maps->hidden_width, margin = maps->filter_width - 1, pitch = m->pitch;
    /* Neighbours in a block are rows where there is one channel, else channels. */
    size_t lines_most = channels == 1 ? DOWN_ROWS : 1, channels_most = DOWN_ROWS + 1 - lines_most;
    float *turned = m->turned, *sums = m->sums;
    for (size_t position = 0; position < maps->hidden_height * wide; position++)
        for (size_t k = 0; k < filters; k++)
            turned[(position / wide * filters + k) * pitch + margin + position % wide] =
                values[position * filters + k];
    for (size_t line = 0; line < maps->height; line += lines_most)
        for (size_t c = 0; c < channels; c += channels_most) {
            size_t lines = at_most_of(maps->height - line, lines_most);
            size_t together = at_most_of(channels - c, channels_most);
            size_t at = line * maps->width * channels + c;
            turned_link link = {a->weights + c * a->ld_weights, a->ld_weights, a->ld_weights,
                                turned, pitch};
            for (size_t i = 0; i < lines * together; i++)
                for (size_t x = 0; x < maps->width; x++)
                    sums[i * pitch + x] =
                        a->bias[at + i / lines + (i % lines * maps->width + x) * channels];
            if (channels == 1) {
                link.next *= maps->filter_width;
                deconvolve_lines(&link, maps, line, lines, sums);
            } else
                deconvolve_columns(&link, maps, line, first_row_to(maps, line),
                                   beyond_rows_to(maps, line), together, sums);
            for (size_t i = 0; i < lines * together; i++)
                for (size_t x = 0; x < maps->width; x++)
                    out[at + i / lines + (i % lines * maps->width + x) * channels] =
                        sums[i * pitch + x];
        }
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
                    sum[r][v] = multiply_add(visible, columns[v], sum[r][v]);
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

/* Of a thread: hidden states of one row, scaled. Their rows are of whole vectors. */
typedef struct {
    size_t width;
    float *scaled;
} gradient_values;

INLINE gradient_values carve_gradient_values(arena *space, const rbm_maps *maps) {
    gradient_values m = {.width = (maps->filters + LANES - 1) / LANES * LANES};
    m.scaled = carve(space, maps->hidden_height * maps->hidden_width * m.width, sizeof *m.scaled);
    return m;
}

/* sums (taps x width) += what row r of one side has. */
static void correlate_values(const rbm_correlate_args *a, const rbm_side *side,
                             const gradient_values *m, size_t r, float *sums) {
    const rbm_maps *maps = &a->maps;
    scale_runs(side->hidden + r * a->ld_hidden, side->scale,
               maps->hidden_height * maps->hidden_width, maps->filters, maps->filters, m->scaled,
               m->width);
    correlate_image(side->values + r * a->ld_values, maps, m->scaled, m->width, sums);
}

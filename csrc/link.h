/* The dense link: total inputs, and the outer statistics of visible and hidden states. */

/* Columns are worked on in tiles of at most this many vectors, so that a row's sums stay in
 * registers, and few enough that the tile of the matrix stays in the L2 cache while every row
 * passes over it; but of no less than two cache lines a row. AVX-512 comes with an L2 cache of a
 * megabyte and more, what is older has half or a quarter. The tiles do not show in the result. */
#define MAX_TILE 8
#define MIN_TILE (128 / (int)sizeof(vfloat))
#define TILE_BYTES ((LANES == 16 ? 512 : 256) * 1024)

/* The size of parts of `vectors` that are as alike as can be and hold at most `most` of them, if
 * this is no less than `least`. */
INLINE size_t parts_alike(size_t vectors, size_t most, size_t least) {
    size_t size = most < least ? least : most, parts = (vectors + size - 1) / size;
    return (vectors + parts - 1) / parts;
}

INLINE size_t tile_vectors(size_t matrix_rows, size_t vectors) {
    size_t fit = TILE_BYTES / (matrix_rows * sizeof(vfloat) + 1);
    return parts_alike(vectors, at_most_of(fit, MAX_TILE), MIN_TILE);
}

/* sums += the matrix rows listed, over N vectors of columns. */
#define SUM_ROWS(N)                                                                                \
    static void sum_rows_##N(const float *matrix, size_t ld, const uint32_t *index, size_t count,  \
                             const float *initial, float *out) {                                   \
        vfloat sum[N];                                                                             \
        for (int v = 0; v < N; v++)                                                                \
            sum[v] = initial ? load(initial + v * LANES) : (vfloat){0};                            \
        for (size_t e = 0; e < count; e++) {                                                       \
            const float *row = matrix + index[e] * ld;                                             \
            for (int v = 0; v < N; v++)                                                            \
                sum[v] += load(row + v * LANES);                                                   \
        }                                                                                          \
        for (int v = 0; v < N; v++)                                                                \
            store(out + v * LANES, sum[v]);                                                        \
    }
SUM_ROWS(1)
SUM_ROWS(2)
SUM_ROWS(3)
SUM_ROWS(4)
SUM_ROWS(5)
SUM_ROWS(6)
SUM_ROWS(7)
SUM_ROWS(8)

typedef void sum_rows_function(const float *, size_t, const uint32_t *, size_t, const float *,
                               float *);
static sum_rows_function *const sum_rows[MAX_TILE + 1] = {
    0,          sum_rows_1, sum_rows_2, sum_rows_3, sum_rows_4,
    sum_rows_5, sum_rows_6, sum_rows_7, sum_rows_8,
};

#define ROW_BLOCK 32 /* rows a thread takes at a time within a tile */

/* By lists, of a matrix that is not turned. */
static void sum_listed(const rbm_bit_inputs_args *a, rbm_worker *me) {
    size_t vectors = (a->width + LANES - 1) / LANES, tile = tile_vectors(a->units, vectors);
    size_t tiles = (vectors + tile - 1) / tile, blocks = (a->rows + ROW_BLOCK - 1) / ROW_BLOCK;
    EACH(me, 1, tiles * blocks, item) {
        size_t v = item / blocks * tile, r = item % blocks * ROW_BLOCK, column = v * LANES;
        size_t count = at_most_of(vectors - v, tile);
        for (size_t end = at_most_of(r + ROW_BLOCK, a->rows); r < end; r++)
            sum_rows[count](a->matrix.at + column, a->matrix.ld, a->index + a->start[r],
                            a->start[r + 1] - a->start[r], a->bias + column,
                            a->out + r * a->ld + column);
    }
}

/* Bits that are on in some words of the first rows. */
INLINE size_t count_part(const rbm_bit_inputs_args *a, size_t rows, size_t word, size_t words) {
    size_t on = 0;
    for (size_t r = 0; r < rows; r++)
        on += count_bits(a->bits + r * a->words + word, words);
    return on;
}

/* The two sums. Who adds up also makes the lists, those of the first units before the others. */
static void sum_parts(const rbm_bit_inputs_args *a, rbm_worker *me) {
    size_t vectors = (a->width + LANES - 1) / LANES, tile = tile_vectors(a->first, vectors);
    size_t blocks = (a->rows + ROW_BLOCK - 1) / ROW_BLOCK, split = a->first / 64;
    EACH(me, 1, 2 * blocks, item) {
        const int second = item >= blocks;
        size_t first = item % blocks * ROW_BLOCK, rows = at_most_of(a->rows - first, ROW_BLOCK);
        size_t word = second ? split : 0, words = second ? a->words - split : split;
        uint32_t *list[ROW_BLOCK + 1];
        list[0] = a->index + count_part(a, first, word, words) +
                  (second ? count_part(a, a->rows, 0, split) : 0);
        for (size_t r = 0; r < rows; r++)
            list[r + 1] = list_words(a->bits + (first + r) * a->words + word, words,
                                     (uint32_t)(word * 64), list[r]);
        for (size_t v = 0; v < vectors; v += tile) {
            size_t count = at_most_of(vectors - v, tile), column = v * LANES;
            float *out = (second ? a->second : a->out) + first * a->ld + column;
            for (size_t r = 0; r < rows; r++)
                sum_rows[count](a->matrix.at + column, a->matrix.ld, list[r],
                                (size_t)(list[r + 1] - list[r]), second ? NULL : a->bias + column,
                                out + r * a->ld);
        }
    }
}

/* By lists, of a turned matrix: some columns of it at a time are turned for some units, and then
 * for the next, from which the lists go on. */
enum { TURNED_VECTORS = 64 / LANES < MAX_TILE ? 64 / LANES : MAX_TILE, TURNED_UNITS = 256 };

static void sum_turned(const rbm_bit_inputs_args *a, rbm_worker *me) {
    enum { MOST_ROWS = 1024, WIDTH = TURNED_VECTORS * LANES };
    size_t vectors = (a->width + LANES - 1) / LANES, ld = a->matrix.ld;
    size_t tiles = (vectors + TURNED_VECTORS - 1) / TURNED_VECTORS;
    size_t group = rows_together(MOST_ROWS, a->rows, tiles, me);
    size_t groups = (a->rows + group - 1) / group;
    EACH(me, 1, tiles * groups, item) {
        _Alignas(64) float part[TURNED_UNITS * WIDTH];
        uint32_t next[MOST_ROWS];
        size_t column = item / groups * WIDTH, first = item % groups * group;
        size_t count = at_most_of(vectors - column / LANES, TURNED_VECTORS);
        size_t rows = at_most_of(a->rows - first, group);
        memcpy(next, a->start + first, rows * sizeof *next);
        for (size_t unit = 0; unit < a->units; unit += TURNED_UNITS) {
            size_t here = at_most_of(a->units - unit, TURNED_UNITS);
            turn(a->matrix.at + column * ld + unit, ld, a->width - column, here, count, part,
                 WIDTH);
            /* Where unit 0 would be, from which lists count. */
            const float *origin = (const float *)((uintptr_t)part - unit * WIDTH * sizeof *part);
            for (size_t r = 0; r < rows; r++) {
                const uint64_t *bits = a->bits + (first + r) * a->words + unit / 64;
                size_t on = count_bits(bits, (here + 63) / 64);
                float *out = a->out + (first + r) * a->ld + column;
                sum_rows[count](origin, WIDTH, a->index + next[r], on,
                                unit ? out : a->bias + column, out);
                next[r] += (uint32_t)on;
            }
        }
    }
}

static void bit_inputs(const void *args, rbm_worker *me) {
    const rbm_bit_inputs_args a = *(const rbm_bit_inputs_args *)args;
    const int parts = a.first < a.units;
    if (count_bits(a.bits, a.rows * a.words) > rbm_most_listed(a.rows, a.units))
        sum_subsets(&a, me);
    else if (parts)
        sum_parts(&a, me);
    else {
        list_rows(a.bits, a.rows, a.words, a.start, a.index, me);
        rbm_meet(me);
        if (a.matrix.turned)
            sum_turned(&a, me);
        else
            sum_listed(&a, me);
    }
    if (parts) {
        rbm_meet(me);
        EACH(me, 8, a.rows, r)
        for (size_t c = r * a.ld; c < r * a.ld + a.width; c += LANES)
            store(a.out + c, load(a.out + c) + load(a.second + c));
    }
}

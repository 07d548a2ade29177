/* The dense link: total inputs, and the outer statistics of visible and hidden states. */

/* Columns are worked on in tiles of at most this many vectors, so that a row's sums stay in
 * registers, and few enough that the tile of the matrix stays in the L2 cache while every row
 * passes over it; but of no less than two cache lines a row. AVX-512 comes with an L2 cache of a
 * megabyte and more, what is older has half or a quarter. The tiles do not show in the result. */
#define MAX_TILE 8
#define MIN_TILE (128 / (int)sizeof(vfloat))
#define TILE_BYTES ((LANES == 16 ? 512 : 256) * 1024)

INLINE size_t tile_vectors(size_t matrix_rows, size_t vectors) {
    size_t fit = TILE_BYTES / (matrix_rows * sizeof(vfloat) + 1);
    size_t most = fit < MIN_TILE ? MIN_TILE : fit > MAX_TILE ? MAX_TILE : fit;
    size_t tiles = (vectors + most - 1) / most;
    return (vectors + tiles - 1) / tiles;
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

static void sum_listed(const void *args, rbm_worker *me) {
    const rbm_sum_listed_args a = *(const rbm_sum_listed_args *)args;
    size_t vectors = (a.width + LANES - 1) / LANES, tile = tile_vectors(a.matrix_rows, vectors);
    size_t tiles = (vectors + tile - 1) / tile, blocks = (a.rows + ROW_BLOCK - 1) / ROW_BLOCK;
    EACH(me, 1, tiles * blocks, item) {
        size_t first = item / blocks * tile, r = item % blocks * ROW_BLOCK;
        size_t count = vectors - first < tile ? vectors - first : tile, column = first * LANES;
        for (size_t end = r + ROW_BLOCK < a.rows ? r + ROW_BLOCK : a.rows; r < end; r++)
            sum_rows[count](a.matrix + column, a.ld, a.index + a.start[r],
                            a.start[r + 1] - a.start[r], a.bias + column,
                            a.out + r * a.ld + column);
    }
}

/* A register block of the dense product: BLOCK_ROWS x BLOCK_VECTORS sums. */
#if LANES == 16
#define BLOCK_ROWS 6
#define BLOCK_VECTORS 4
#elif LANES == 8
#define BLOCK_ROWS 6
#define BLOCK_VECTORS 2
#else
#define BLOCK_ROWS 4
#define BLOCK_VECTORS 2
#endif

INLINE void multiply_block(const float *a, size_t a_row, size_t a_inner, size_t inner,
                           const float *b, size_t ld, const float *bias, float scale, float *out,
                           const int rows, const int vectors) {
    vfloat sum[BLOCK_ROWS][BLOCK_VECTORS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            sum[r][v] = (vfloat){0};
    for (size_t k = 0; k < inner; k++) {
        vfloat columns[BLOCK_VECTORS];
        for (int v = 0; v < vectors; v++)
            columns[v] = load(b + k * ld + v * LANES);
        for (int r = 0; r < rows; r++) {
            vfloat x = splat(a[(size_t)r * a_row + k * a_inner]);
            for (int v = 0; v < vectors; v++)
                sum[r][v] += x * columns[v];
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) {
            float *to = out + (size_t)r * ld + v * LANES;
            store(to,
                  bias ? load(bias + v * LANES) + sum[r][v] : load(to) + splat(scale) * sum[r][v]);
        }
}

static void multiply(const void *args, rbm_worker *me) {
    const rbm_multiply_args x = *(const rbm_multiply_args *)args;
    size_t vectors = (x.width + LANES - 1) / LANES;
    size_t tiles = (vectors + BLOCK_VECTORS - 1) / BLOCK_VECTORS;
    size_t blocks = (x.rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    EACH(me, 1, tiles * blocks, item) {
        size_t first = item / blocks * BLOCK_VECTORS, r = item % blocks * BLOCK_ROWS;
        size_t column = first * LANES;
        const float *from = x.a + r * x.a_row, *offset = x.bias ? x.bias + column : NULL;
        float *to = x.out + r * x.ld + column;
        int full = vectors - first >= BLOCK_VECTORS;
        if (full && x.rows - r >= BLOCK_ROWS)
            multiply_block(from, x.a_row, x.a_inner, x.inner, x.b + column, x.ld, offset, x.scale,
                           to, BLOCK_ROWS, BLOCK_VECTORS);
        else
            for (size_t i = 0; i < BLOCK_ROWS && r + i < x.rows; i++)
                for (size_t v = 0; v < BLOCK_VECTORS && first + v < vectors; v++)
                    multiply_block(from + i * x.a_row, x.a_row, x.a_inner, x.inner,
                                   x.b + column + v * LANES, x.ld,
                                   offset ? offset + v * LANES : NULL, x.scale,
                                   to + i * x.ld + v * LANES, 1, 1);
    }
}

static void bit_inputs(const void *args, rbm_worker *me) {
    const rbm_bit_inputs_args a = *(const rbm_bit_inputs_args *)args;
    count_rows(a.bits, a.rows, a.words, a.start, me);
    if (a.start[a.rows] > rbm_most_listed(a.rows, a.units)) {
        sum_subsets(&a, me);
        return;
    }
    list_rows(a.bits, a.rows, a.words, a.start, a.index, me);
    rbm_meet(me);
    const rbm_sum_listed_args listed = {a.matrix, a.units, a.ld,   a.width, a.start,
                                        a.index,  a.rows,  a.bias, a.out};
    sum_listed(&listed, me);
}

static void transpose(const void *args, rbm_worker *me) {
    const rbm_transpose_args a = *(const rbm_transpose_args *)args;
    EACH(me, 1, (a.ld_rows + LANES - 1) / LANES, block_row) {
        size_t r = block_row * LANES;
        for (size_t c = 0; c < a.columns; c += LANES) {
            vfloat block[LANES];
            for (size_t i = 0; i < LANES; i++)
                block[i] =
                    r + i < a.rows ? load(a.matrix + (r + i) * a.ld_columns + c) : (vfloat){0};
            transpose_block(block);
            for (size_t i = 0; i < LANES && c + i < a.columns; i++)
                store(a.transposed + (c + i) * a.ld_rows + r, block[i]);
        }
    }
}

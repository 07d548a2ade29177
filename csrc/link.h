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

/* Total inputs from bits by tables of partial sums: the method of four Russians (Arlazarov, Dinic,
 * Kronrod and Faradzhev 1970). Of every 4 rows of the matrix all 16 sums are made once; a row of
 * states then adds one of them, whichever of its 4 bits are on.
 *
 * 16 columns are worked on at a time, and 32 units: what the inner loop reads, tables, sums and
 * where in the tables to look, then fits half of the L1 cache. */

enum {
    GROUP = 4,
    SUBSETS = 1 << GROUP,
    GROUPS = 8,
    TABLE_UNITS = GROUP * GROUPS,
    TABLE_ROWS = 128, /* of states, which one set of tables serves */
};

/* LANES floats of RBM_PAD. */
#define PARTS (RBM_PAD / LANES)

/* The sums of the rows of the matrix from its beginning on, `left` of which are there. */
INLINE void fill_tables(const float *matrix, size_t ld, size_t left, float *tables) {
    for (size_t g = 0; g < GROUPS; g++)
        for (size_t i = 0; i < RBM_PAD; i += LANES) {
            vfloat sum[SUBSETS] = {{0}};
            for (size_t bit = 0; bit < GROUP; bit++) {
                size_t row = g * GROUP + bit;
                vfloat x = row < left ? load(matrix + row * ld + i) : (vfloat){0};
                for (size_t m = 0; m < (size_t)1 << bit; m++)
                    sum[m + ((size_t)1 << bit)] = sum[m] + x;
            }
            for (size_t m = 0; m < SUBSETS; m++)
                store(tables + (g * SUBSETS + m) * RBM_PAD + i, sum[m]);
        }
}

/* where[(half * rows + r) * GROUPS + g]: the place in the tables of group g of 32 units for row r.
 */
static void place_rows(const rbm_bit_inputs_args *a, uint16_t *where, rbm_worker *me) {
    size_t halves = (a->units + 31) / 32;
    EACH(me, 8, a->rows, r) {
        for (size_t half = 0; half < halves; half++) {
            uint32_t bits = (uint32_t)(a->bits[r * a->words + half / 2] >> half % 2 * 32);
            uint16_t *to = where + (half * a->rows + r) * GROUPS;
            for (size_t g = 0; g < GROUPS; g++)
                to[g] = (uint16_t)((g * SUBSETS + (bits >> g * GROUP & (SUBSETS - 1))) * RBM_PAD);
        }
    }
}

/* RBM_PAD columns of one of the sums for some rows, of the units from `unit` to `end`. */
INLINE void sum_block(const rbm_bit_inputs_args *a, const uint16_t *where, size_t unit, size_t end,
                      size_t first, size_t rows, size_t column) {
    _Alignas(64) float tables[GROUPS * SUBSETS * RBM_PAD], sums[TABLE_ROWS * RBM_PAD];
    _Alignas(64) float turned[TABLE_UNITS * RBM_PAD];
    const float *matrix = a->matrix.at;
    size_t ld = a->matrix.ld;
    float *out = (unit ? a->second : a->out) + first * a->ld + column;
    for (size_t i = 0; i < rows * RBM_PAD; i += LANES)
        store(sums + i, unit ? (vfloat){0} : load(a->bias + column + i % RBM_PAD));
    for (; unit < end; unit += TABLE_UNITS) {
        if (a->matrix.turned) {
            turn(matrix + column * ld + unit, ld, a->width - column,
                 at_most_of(end - unit, TABLE_UNITS), PARTS, turned, RBM_PAD);
            fill_tables(turned, RBM_PAD, end - unit, tables);
        } else
            fill_tables(matrix + unit * ld + column, ld, end - unit, tables);
        const uint16_t *at = where + (unit / TABLE_UNITS * a->rows + first) * GROUPS;
        for (size_t r = 0; r < rows; r++, at += GROUPS) {
            vfloat sum[PARTS];
            for (size_t i = 0; i < PARTS; i++)
                sum[i] = load(sums + r * RBM_PAD + i * LANES);
            for (size_t g = 0; g < GROUPS; g++)
                for (size_t i = 0; i < PARTS; i++)
                    sum[i] += load(tables + at[g] + i * LANES);
            for (size_t i = 0; i < PARTS; i++)
                store(sums + r * RBM_PAD + i * LANES, sum[i]);
        }
    }
    for (size_t r = 0; r < rows; r++)
        memcpy(out + r * a->ld, sums + r * RBM_PAD, RBM_PAD * sizeof *sums);
}

/* Of how many rows an item is, at most `most`, so that there are several items for each thread; who
 * does what does not show in the result. tiles: what is done with each of these. */
INLINE size_t rows_together(size_t most, size_t rows, size_t tiles, const rbm_worker *me) {
    while (most > 32 && tiles * ((rows + most - 1) / most) < 3 * (size_t)me->threads)
        most /= 2;
    return most;
}

static void sum_subsets(const rbm_bit_inputs_args *a, rbm_worker *me) {
    uint16_t *where = (uint16_t *)a->index;
    place_rows(a, where, me);
    rbm_meet(me);
    size_t tiles = (a->width + RBM_PAD - 1) / RBM_PAD, sums = a->first < a->units ? 2 : 1;
    size_t rows = rows_together(TABLE_ROWS, a->rows, sums * tiles, me);
    size_t blocks = (a->rows + rows - 1) / rows;
    EACH(me, 1, sums * tiles * blocks, item) {
        size_t first = item % blocks * rows, column = item / blocks % tiles * RBM_PAD;
        const int second = item >= tiles * blocks;
        sum_block(a, where, second ? a->first : 0, second ? a->units : a->first, first,
                  at_most_of(a->rows - first, rows), column);
    }
}

/* Products of matrices of real numbers, in register blocks of BLOCK_ROWS x BLOCK_VECTORS sums. A
 * sum runs over its terms in order, each of which is added by one multiply_add; what is zero in all
 * rows of a block is passed over, which changes no sum. */
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

/* Work on `terms` terms at a time, whose rows of b, in the columns of a block, then lie close to
 * each other in the L1 cache; the sums of up to TALL rows are kept beside them. */
enum { TERMS = 64, TALL = 48, BLOCK_WIDTH = BLOCK_VECTORS * LANES };

/* Which of up to TERMS terms are there: one bit each. */
INLINE uint64_t all_terms(size_t terms) {
    return terms == 64 ? ~UINT64_C(0) : (UINT64_C(1) << terms) - 1;
}

/* Those that are not zero in all of `rows` rows of a, whose terms are neighbours. */
INLINE uint64_t terms_there(const float *a, size_t a_row, size_t rows, size_t terms) {
    uint64_t there = 0;
    for (size_t k = 0; k < terms; k += LANES) {
        vint any = {0};
        for (size_t r = 0; r < rows; r++)
            any |= (vint)load_first(a + r * a_row + k, at_most_of(terms - k, LANES));
        there |= (uint64_t)lane_bits((any << 1) != 0) << k; /* but for the sign */
    }
    return there;
}

/* sums (rows x BLOCK_WIDTH) += a b over the terms that are `there`, a[r, k] being at
 * a[r * a_row + k * a_inner]. */
INLINE void add_terms(const float *a, size_t a_row, size_t a_inner, uint64_t there, size_t terms,
                      const float *b, size_t ld_b, vfloat sum[BLOCK_ROWS][BLOCK_VECTORS],
                      const int rows, const int n) {
#define ADD_TERM(k)                                                                                \
    do {                                                                                           \
        vfloat columns[BLOCK_VECTORS];                                                             \
        for (int v = 0; v < n; v++)                                                                \
            columns[v] = load(b + (k) * ld_b + v * LANES);                                         \
        for (int r = 0; r < rows; r++) {                                                           \
            vfloat x = splat(a[(size_t)r * a_row + (k) * a_inner]);                                \
            for (int v = 0; v < n; v++)                                                            \
                sum[r][v] = multiply_add(x, columns[v], sum[r][v]);                                \
        }                                                                                          \
    } while (0)
    if (there == all_terms(terms))
        for (size_t k = 0; k < terms; k++)
            ADD_TERM(k);
    else
        for (; there; there &= there - 1) {
            size_t k = (size_t)__builtin_ctzll(there);
            ADD_TERM(k);
        }
}

INLINE void multiply_block(const float *a, size_t a_row, size_t a_inner, uint64_t there,
                           size_t terms, const float *b, size_t ld_b, float *sums, const int rows,
                           const int n) {
    vfloat sum[BLOCK_ROWS][BLOCK_VECTORS];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < n; v++)
            sum[r][v] = load(sums + (size_t)r * BLOCK_WIDTH + v * LANES);
    add_terms(a, a_row, a_inner, there, terms, b, ld_b, sum, rows, n);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < n; v++)
            store(sums + (size_t)r * BLOCK_WIDTH + v * LANES, sum[r][v]);
}

/* Up to TALL rows of the product from row `first` on, n vectors from `column` on. */
static void multiply_tall(const rbm_multiply_args *x, size_t first, size_t rows, size_t column,
                          size_t n) {
    _Alignas(64) float packed[TERMS * BLOCK_WIDTH], sums[TALL * BLOCK_WIDTH];
    const rbm_matrix *matrix = &x->b;
    memset(sums, 0, rows * BLOCK_WIDTH * sizeof *sums);
    for (size_t k = 0; k < x->inner; k += TERMS) {
        size_t terms = at_most_of(x->inner - k, TERMS), ld_b = matrix->ld;
        const float *b = matrix->at + (matrix->turned ? column * ld_b + k : k * ld_b + column);
        if (matrix->turned) {
            turn(b, ld_b, x->width - column, terms, n, packed, BLOCK_WIDTH);
            b = packed, ld_b = BLOCK_WIDTH;
        } else if (rows > 2 * BLOCK_ROWS) {
            for (size_t i = 0; i < terms; i++)
                memcpy(packed + i * BLOCK_WIDTH, b + i * ld_b, n * LANES * sizeof *b);
            b = packed, ld_b = BLOCK_WIDTH;
        }
        for (size_t r = 0; r < rows; r += BLOCK_ROWS) {
            size_t here = at_most_of(rows - r, BLOCK_ROWS);
            const float *a = x->a + (first + r) * x->a_row + k * x->a_inner;
            float *to = sums + r * BLOCK_WIDTH;
            uint64_t there =
                x->a_inner == 1 ? terms_there(a, x->a_row, here, terms) : all_terms(terms);
#define MULTIPLY(rows, n)                                                                          \
    multiply_block(a, x->a_row, x->a_inner, there, terms, b, ld_b, to, rows, n)
            EACH_BLOCK(here, n, MULTIPLY)
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < n * LANES; c += LANES) {
            float *to = x->out + (first + r) * x->ld + column + c;
            vfloat sum = load(sums + r * BLOCK_WIDTH + c);
            store(to,
                  x->bias ? load(x->bias + column + c) + sum : load(to) + splat(x->scale) * sum);
        }
}

static void multiply(const void *args, rbm_worker *me) {
    const rbm_multiply_args x = *(const rbm_multiply_args *)args;
    size_t vectors = (x.width + LANES - 1) / LANES;
    size_t tiles = (vectors + BLOCK_VECTORS - 1) / BLOCK_VECTORS;
    size_t groups = (x.rows + TALL - 1) / TALL;
    size_t tall = groups ? (x.rows + groups - 1) / groups : 0; /* alike, and whole blocks */
    tall = (tall + BLOCK_ROWS - 1) / BLOCK_ROWS * BLOCK_ROWS;
    EACH(me, 1, tiles * groups, item) {
        size_t v = item / groups * BLOCK_VECTORS, first = item % groups * tall;
        if (first < x.rows)
            multiply_tall(&x, first, at_most_of(x.rows - first, tall), v * LANES,
                          at_most_of(vectors - v, BLOCK_VECTORS));
    }
}

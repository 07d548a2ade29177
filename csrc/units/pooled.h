/* Probabilistic max pooling (Lee, Grosse, Ranganath, Ng 2009, section 3.3): of the units of one
 * filter in a block of pool x pool positions at most one is on. Unit i is on with probability
 * exp(x_i) / (1 + the sum over the block of exp(x)). */

/* Beyond this, totals are lowered, so that no exponential and no sum of a block overflows. */
#define MOST_EXPONENT 60.0f

typedef struct {
    vfloat weight[RBM_MOST_POOL * RBM_MOST_POOL]; /* exp(x - lowered) */
    vfloat total;                                 /* with that of no unit being on */
    vfloat lowered;
} blocks;

/* The blocks of LANES filters, of whom `count` count, from `total` on. */
INLINE void weigh_blocks(const float *total, const rbm_pool *maps, float scale, size_t count,
                         const size_t pool, blocks *b) {
    vfloat greatest = {0};
    size_t line = maps->width * maps->filters;
    for (size_t cy = 0; cy < pool; cy++)
        for (size_t cx = 0; cx < pool; cx++) {
            const float *from = total + cy * line + cx * maps->filters;
            vfloat x = splat(scale) * (count < LANES ? load_first(from, count) : load(from));
            b->weight[cy * pool + cx] = x;
            greatest = choose(x > greatest, x, greatest);
        }
    b->lowered = at_least(at_most(greatest, 3e38f) - splat(MOST_EXPONENT), 0.0f);
    vfloat sum = decay(-b->lowered);
    if (lane_bits(b->lowered > (vfloat){0}))
        for (size_t i = 0; i < pool * pool; i++)
            b->weight[i] = at_most(b->weight[i], 3e38f) - b->lowered;
    for (size_t i = 0; i < pool * pool; i++) {
        b->weight[i] = decay(b->weight[i]);
        sum += b->weight[i];
    }
    b->total = sum;
}

/* Random words of neighbouring units of one row, asked for in ascending order. */
typedef struct {
    const stream *of;
    size_t row, from, end;
    uint32_t words[32 * DRAWN];
} word_buffer;

INLINE vword next_words(word_buffer *buffer, size_t unit) {
    if (unit + LANES > buffer->end) {
        buffer->from = unit / 4 * 4;
        buffer->end = buffer->from + 32 * DRAWN;
        for (size_t u = 0; u < 32 * DRAWN; u += DRAWN) {
            vword fresh[2];
            philox(buffer->of, (uint32_t)buffer->row, (uint32_t)(buffer->from + u), fresh);
            memcpy(buffer->words + u, fresh, sizeof fresh);
        }
    }
    vword result;
    memcpy(&result, buffer->words + (unit - buffer->from), sizeof result);
    return result;
}

INLINE void add_bits(uint64_t *row, size_t unit, uint64_t bits) {
    row[unit / 64] |= bits << unit % 64;
    if (unit % 64 && bits >> (64 - unit % 64))
        row[unit / 64 + 1] |= bits >> (64 - unit % 64);
}

INLINE void pooled_row(const float *total, const rbm_pool *maps, float *mean, uint64_t *bits,
                       word_buffer *buffer, const size_t pool) {
    size_t tall = maps->height / pool, wide = maps->width / pool, filters = maps->filters;
    for (size_t position = 0; position < tall * wide; position++) {
        size_t py = position / wide, px = position % wide;
        size_t corner = (py * pool * maps->width + px * pool) * filters;
        for (size_t k = 0; k < filters; k += LANES) {
            size_t count = filters - k < LANES ? filters - k : LANES;
            blocks b;
            weigh_blocks(total + corner + k, maps, 1.0f, count, pool, &b);
            if (bits) {
                /* The middle of the uniform's step less one half: every value is a float. */
                vint odd =
                    (vint)(next_words(buffer, position * filters + k) >> 8) * 2 + 1 - (1 << 24);
                vfloat threshold = __builtin_convertvector(odd, vfloat) * splat(0x1p-25f) * b.total;
                vfloat half = splat(0.5f) * b.total, sum = {0};
                uint64_t before = 0, all = (UINT64_C(1) << count) - 1;
                for (size_t i = 0; i < pool * pool; i++) {
                    sum += b.weight[i];
                    uint64_t reached = lane_bits(sum - half > threshold) & all;
                    size_t unit = corner + ((i / pool) * maps->width + i % pool) * filters + k;
                    add_bits(bits, unit, reached & ~before);
                    before = reached;
                }
            }
            if (mean) {
                vfloat share = splat(1.0f) / b.total;
                for (size_t i = 0; i < pool * pool; i++) {
                    size_t unit = corner + ((i / pool) * maps->width + i % pool) * filters + k;
                    if (count < LANES)
                        store_first(mean + unit, b.weight[i] * share, count);
                    else
                        store(mean + unit, b.weight[i] * share);
                }
            }
        }
    }
}

static void pooled(const float *total, size_t rows, const rbm_pool *maps, size_t ld, float *mean,
                   uint64_t *bits, size_t words, const rbm_draw *draw, int threads) {
    const stream s = open_stream(draw);
    size_t units = maps->height * maps->width * maps->filters;
    PARALLEL_FOR(threads, 1, rows * units)
    for (size_t r = 0; r < rows; r++) {
        const float *from = total + r * ld;
        float *to = mean ? mean + r * ld : NULL;
        uint64_t *row = bits ? bits + r * words : NULL;
        word_buffer buffer = {.of = &s, .row = r};
        if (row)
            memset(row, 0, words * sizeof *row);
        if (maps->pool == 2)
            pooled_row(from, maps, to, row, &buffer, 2);
        else
            pooled_row(from, maps, to, row, &buffer, maps->pool);
        if (to)
            memset(to + units, 0, (ld - units) * sizeof *to);
    }
}

static void pooled_cumulant(const float *total, size_t rows, const rbm_pool *maps, size_t ld,
                            float scale, double weight, double *out, int threads) {
    size_t pool = maps->pool, tall = maps->height / pool, wide = maps->width / pool;
    PARALLEL_FOR(threads, 1, rows * maps->height * maps->width * maps->filters)
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
        for (size_t position = 0; position < tall * wide; position++) {
            size_t py = position / wide, px = position % wide;
            size_t corner = (py * pool * maps->width + px * pool) * maps->filters;
            for (size_t k = 0; k < maps->filters; k += LANES) {
                size_t count = maps->filters - k < LANES ? maps->filters - k : LANES;
                blocks b;
                float values[LANES];
                weigh_blocks(total + r * ld + corner + k, maps, scale, count, pool, &b);
                store(values, logarithm(b.total) + b.lowered);
                for (size_t i = 0; i < count; i++)
                    sum += (double)values[i];
            }
        }
        out[r] += weight * sum;
    }
}

static void pooled_means(const float *means, size_t rows, const rbm_pool *maps, size_t ld,
                         float *out, size_t ld_out, int threads) {
    size_t pool = maps->pool, tall = maps->height / pool, wide = maps->width / pool;
    size_t units = tall * wide * maps->filters;
    PARALLEL_FOR(threads, 1, rows * maps->height * maps->width * maps->filters / LANES)
    for (size_t r = 0; r < rows; r++) {
        for (size_t position = 0; position < tall * wide; position++) {
            size_t py = position / wide, px = position % wide;
            const float *from =
                means + r * ld + (py * pool * maps->width + px * pool) * maps->filters;
            for (size_t k = 0; k < maps->filters; k += LANES) {
                size_t count = maps->filters - k < LANES ? maps->filters - k : LANES;
                vfloat sum = {0};
                for (size_t i = 0; i < pool * pool; i++)
                    sum += load_first(
                        from + ((i / pool) * maps->width + i % pool) * maps->filters + k, count);
                store_first(out + r * ld_out + position * maps->filters + k, sum, count);
            }
        }
        memset(out + r * ld_out + units, 0, (ld_out - units) * sizeof *out);
    }
}

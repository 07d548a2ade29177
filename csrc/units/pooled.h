/* Probabilistic max pooling (Lee, Grosse, Ranganath, Ng 2009, section 3.3): of the units of one
 * filter in a block of pool x pool positions at most one is on. Unit i is on with probability
 * exp(x_i) / (1 + the sum over the block of exp(x)). */

/* Beyond this, totals are lowered, so that no exponential and no sum of a block overflows. */
#define MOST_EXPONENT 60.0f

/* The blocks of LANES filters, of which `count` count, from `total` on: the weights of their
 * members, exp(x - lowered), and of no unit being on, summed to `sum`. */
typedef struct {
    vfloat sum, lowered;
} block_weights;

INLINE block_weights weigh_blocks(const float *total, const rbm_pool *maps, float scale,
                                  size_t count, const size_t pool, vfloat *weight) {
    vfloat greatest = {0};
    for (size_t i = 0; i < pool * pool; i++) {
        const float *from = total + (i / pool * maps->width + i % pool) * maps->filters;
        weight[i] = splat(scale) * (count < LANES ? load_first(from, count) : load(from));
        greatest = greater(weight[i], greatest);
    }
    vfloat sum = splat(1.0f), lowered = {0};
    if (lane_bits(greatest > splat(MOST_EXPONENT))) {
        lowered = at_least(at_most(greatest, 3e38f) - splat(MOST_EXPONENT), 0.0f);
        sum = decay(-lowered);
        for (size_t i = 0; i < pool * pool; i++)
            weight[i] = at_most(weight[i], 3e38f) - lowered;
    }
    for (size_t i = 0; i < pool * pool; i++) {
        weight[i] = decay(weight[i]);
        sum += weight[i];
    }
    return (block_weights){sum, lowered};
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

/* Which of each block's members are on, by inversion with one uniform: the bits of a word's
 * filters, gathered in on[member] from `shift` on. */
INLINE void draw_blocks(vword word, const vfloat *weight, vfloat sum, size_t count,
                        const size_t members, size_t shift, uint64_t *on) {
    /* The middle of the uniform's step less one half, which a float holds exactly. */
    vint odd = (vint)(word >> 8) * 2 + 1 - (1 << 24);
    vfloat threshold = __builtin_convertvector(odd, vfloat) * splat(0x1p-25f) * sum;
    vfloat half = splat(0.5f) * sum, reached = {0};
    uint64_t before = 0, all = (UINT64_C(1) << count) - 1;
    for (size_t i = 0; i < members; i++) {
        reached += weight[i];
        uint64_t now = lane_bits(reached - half > threshold) & all;
        on[i] |= (now & ~before) << shift;
        before = now;
    }
}

/* One row; `weight` and `on` are to hold something for each member of a block. */
INLINE void pooled_row(const float *total, const rbm_pool *maps, float *mean, uint64_t *bits,
                       word_buffer *buffer, const size_t pool, vfloat *weight, uint64_t *on) {
    size_t tall = maps->height / pool, wide = maps->width / pool, filters = maps->filters;
    size_t pooled_unit = 0;
    for (size_t py = 0; py < tall; py++)
        for (size_t px = 0; px < wide; px++, pooled_unit += filters) {
            size_t corner = (py * pool * maps->width + px * pool) * filters;
            for (size_t word = 0; word < filters; word += 64) {
                size_t end = filters - word < 64 ? filters : word + 64;
                for (size_t i = 0; i < pool * pool; i++)
                    on[i] = 0;
                for (size_t k = word; k < end; k += LANES) {
                    size_t count = end - k < LANES ? end - k : LANES, at = corner + k;
                    block_weights b = weigh_blocks(total + at, maps, 1.0f, count, pool, weight);
                    if (bits)
                        draw_blocks(next_words(buffer, pooled_unit + k), weight, b.sum, count,
                                    pool * pool, k - word, on);
                    if (mean) {
                        vfloat share = splat(1.0f) / b.sum;
                        for (size_t i = 0; i < pool * pool; i++)
                            store_first(mean + at + (i / pool * maps->width + i % pool) * filters,
                                        weight[i] * share, count);
                    }
                }
                if (bits)
                    for (size_t i = 0; i < pool * pool; i++)
                        add_bits(bits,
                                 corner + (i / pool * maps->width + i % pool) * filters + word,
                                 on[i]);
            }
        }
}

#define MOST_MEMBERS (RBM_MOST_POOL * RBM_MOST_POOL)

static void pooled(const void *args, rbm_worker *me) {
    const rbm_pooled_args a = *(const rbm_pooled_args *)args;
    const rbm_pool *maps = &a.maps;
    const stream s = open_stream(&a.draw);
    size_t units = maps->height * maps->width * maps->filters, ld = a.ld, words = a.words;
    EACH_ROW(me, 1, a.rows, r) {
        const float *from = a.total + r * ld;
        float *to = a.mean ? a.mean + r * ld : NULL;
        uint64_t *row = a.bits ? a.bits + r * words : NULL;
        word_buffer buffer = {.of = &s, .row = r};
        if (row)
            memset(row, 0, words * sizeof *row);
        if (maps->pool == 2) { /* by far the most usual, and faster when it is known */
            vfloat weight[4];
            uint64_t on[4];
            pooled_row(from, maps, to, row, &buffer, 2, weight, on);
        } else {
            vfloat weight[MOST_MEMBERS];
            uint64_t on[MOST_MEMBERS];
            pooled_row(from, maps, to, row, &buffer, maps->pool, weight, on);
        }
        if (to)
            memset(to + units, 0, (ld - units) * sizeof *to);
    }
}

static void pooled_cumulant(const void *args, rbm_worker *me) {
    const rbm_pooled_cumulant_args a = *(const rbm_pooled_cumulant_args *)args;
    const rbm_pool *maps = &a.maps;
    size_t pool = maps->pool, tall = maps->height / pool, wide = maps->width / pool;
    EACH_ROW(me, 1, a.rows, r) {
        double sum = 0;
        for (size_t position = 0; position < tall * wide; position++) {
            size_t py = position / wide, px = position % wide;
            size_t corner = (py * pool * maps->width + px * pool) * maps->filters;
            for (size_t k = 0; k < maps->filters; k += LANES) {
                size_t count = maps->filters - k < LANES ? maps->filters - k : LANES;
                vfloat weight[MOST_MEMBERS];
                float values[LANES];
                block_weights b = weigh_blocks(a.total + r * a.ld + corner + k, maps, *a.scale,
                                               count, pool, weight);
                store(values, logarithm(b.sum) + b.lowered);
                for (size_t i = 0; i < count; i++)
                    sum += (double)values[i];
            }
        }
        a.out[r] += a.weight * sum;
    }
}

static void pooled_means(const void *args, rbm_worker *me) {
    const rbm_pooled_means_args a = *(const rbm_pooled_means_args *)args;
    const rbm_pool *maps = &a.maps;
    float *out = a.out;
    size_t ld_out = a.ld_out, pool = maps->pool, tall = maps->height / pool,
           wide = maps->width / pool;
    size_t units = tall * wide * maps->filters;
    EACH_ROW(me, 1, a.rows, r) {
        for (size_t position = 0; position < tall * wide; position++) {
            size_t py = position / wide, px = position % wide;
            const float *from =
                a.means + r * a.ld + (py * pool * maps->width + px * pool) * maps->filters;
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

/* Philox 4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"),
 * LANES / 2 blocks at a time, images drawn to binary states with it, and the lists of what is on.
 */

#define DRAWN (2 * LANES) /* units that one call of philox serves */

/* The draws of one kernel call: its keys, bumped for each round, widened to the lanes' width. */
typedef struct {
    uint64_t key[10][2];
    uint32_t row0, substep, step;
} stream;

INLINE stream open_stream(const rbm_draw *draw) {
    stream s = {.row0 = draw->row0, .substep = draw->substep, .step = draw->step};
    uint32_t k0 = draw->key[0], k1 = draw->key[1];
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        s.key[round][0] = k0;
        s.key[round][1] = k1;
    }
    return s;
}

/* Words of units unit .. unit + DRAWN - 1 of a row, in order; unit is a multiple of 4. */
INLINE void philox(const stream *s, uint32_t row, uint32_t unit, vword out[2]) {
    vpair c0 = (vpair)LANE_NUMBERS + unit / 4, c1 = (vpair){0} + (s->row0 + row),
          c2 = (vpair){0} + s->substep, c3 = (vpair){0} + s->step;
    const vpair m0 = (vpair){0} + 0xD2511F53u, m1 = (vpair){0} + 0xCD9E8D57u;
    /* Only the low halves of the lanes are defined; multiply_low reads no more. */
    for (int round = 0; round < 10; round++) {
        vpair p0 = multiply_low(c0, m0), p1 = multiply_low(c2, m1);
        c0 = (p1 >> 32) ^ c1 ^ s->key[round][0];
        c1 = p1;
        c2 = (p0 >> 32) ^ c3 ^ s->key[round][1];
        c3 = p0;
    }
    vpair even = (c0 & 0xffffffffu) | (c1 << 32), odd = (c2 & 0xffffffffu) | (c3 << 32);
    out[0] = (vword)INTERLEAVE_LOW_PAIRS(even, odd);
    out[1] = (vword)INTERLEAVE_HIGH_PAIRS(even, odd);
}

/* The top 24 bits of a random word as a float in [0, 1). */
INLINE vfloat uniform(vword word) {
    return __builtin_convertvector((vint)(word >> 8), vfloat) * splat(0x1p-24f);
}

static void random_words(const rbm_draw *draw, size_t rows, size_t units, uint32_t *out) {
    const stream s = open_stream(draw);
    for (size_t r = 0; r < rows; r++)
        for (size_t u = 0; u < units; u += DRAWN) {
            vword words[2];
            philox(&s, (uint32_t)r, (uint32_t)u, words);
            size_t count = at_most_of(units - u, DRAWN);
            memcpy(out + r * units + u, words, count * sizeof *out);
        }
}

INLINE void clear_bits_beyond(uint64_t *row, size_t units, size_t words) {
    size_t whole = (units + 63) / 64;
    memset(row + whole, 0, (words - whole) * sizeof *row);
    if (units % 64)
        row[units / 64] &= (UINT64_C(1) << units % 64) - 1;
}

/* Bits are drawn 64 units at a time, with 16 random bits for each: unit u < 32 of a group has the
 * lower half of word u, unit 32 + u the upper half. They are the first 16 binary digits of the
 * uniform that a unit's probability p is compared with; where they are those of p too, 24 more
 * decide. So a unit is on where its uniform, a multiple of 2^-40, is below p. */
#define DIGITS 65536.0f

/* The whole part of p 2^16 for LANES units. */
INLINE vint first_digits(vfloat p) {
    return __builtin_convertvector(p * splat(DIGITS), vint);
}

/* Which of the 64 units of group `group` are on, by the first digits of their probabilities; in
 * `ties`, those for which these do not decide. */
INLINE uint64_t draw_group(const stream *s, size_t row, size_t group, const vint *digits,
                           uint64_t *ties) {
    uint64_t on = 0, tie = 0;
    for (size_t w = 0; w < 32; w += DRAWN) {
        vword words[2];
        philox(s, (uint32_t)row, (uint32_t)(group * 32 + w), words);
        for (size_t i = 0; i < 2; i++) {
            size_t low = w + i * LANES, high = low + 32;
            vint first = (vint)(words[i] & 0xffffu), second = (vint)(words[i] >> 16);
            on |= (uint64_t)bits_below(first, digits[low / LANES]) << low;
            on |= (uint64_t)bits_below(second, digits[high / LANES]) << high;
            tie |= (uint64_t)bits_equal(first, digits[low / LANES]) << low;
            tie |= (uint64_t)bits_equal(second, digits[high / LANES]) << high;
        }
    }
    *ties = tie;
    return on;
}

/* Whether a unit with a tie is on, with probability p. Its further digits have a name that no
 * group's words have. */
static int break_tie(const stream *s, size_t row, size_t unit, float p) {
    vword words[2];
    float first[LANES], digits = p * DIGITS;
    philox(s, (uint32_t)row, (UINT32_C(1) << 31) + 4 * (uint32_t)unit, words);
    store(first, uniform(words[0]));
    return first[0] < digits - (float)(int)digits;
}

typedef uint8_t vbytes __attribute__((vector_size(LANES)));

INLINE vint load_bytes(const uint8_t *p) {
    vbytes bytes;
    memcpy(&bytes, p, sizeof bytes);
    return __builtin_convertvector(bytes, vint);
}

INLINE vfloat load_u8(const uint8_t *p) {
    return __builtin_convertvector(load_bytes(p), vfloat);
}

INLINE vfloat load_f32(const float *p) {
    return load(p);
}

/* The first digits of value / scale. Of bytes that stand for 0 to 1: x 65536 / 255 is 257 x and a
 * rest below 1, but for 255. */
INLINE vint digits_u8(const uint8_t *p, float scale) {
    vint x = load_bytes(p);
    return scale == 255.0f ? x * 257 - (x == 255) : first_digits(load_u8(p) / splat(scale));
}

INLINE vint digits_f32(const float *p, float scale) {
    return first_digits(load_f32(p) / splat(scale));
}

INLINE void prefetch(const void *from, size_t bytes) {
    for (size_t byte = 0; byte < bytes; byte += 64)
        __builtin_prefetch((const char *)from + byte);
}

/* For images stored as `type`, with their margins, where there is nothing to draw, skipped. */
#define BINARIZE(suffix, type)                                                                     \
    INLINE uint64_t binarize_group_##suffix(const rbm_binarize_args *a, const stream *s, size_t r, \
                                            size_t w, const type *group) {                         \
        uint64_t on = 0, ties = 0;                                                                 \
        if (a->how != RBM_SAMPLE) {                                                                \
            for (size_t i = 0; i < 64; i += LANES)                                                 \
                on |= (uint64_t)lane_bits(load_##suffix(group + i) / splat(a->scale) >             \
                                          splat(a->threshold))                                     \
                      << i;                                                                        \
            return on;                                                                             \
        }                                                                                          \
        vint digits[64 / LANES];                                                                   \
        for (size_t i = 0; i < 64; i += LANES)                                                     \
            digits[i / LANES] = digits_##suffix(group + i, a->scale);                              \
        on = draw_group(s, r, w, digits, &ties);                                                   \
        for (; ties; ties &= ties - 1) {                                                           \
            size_t i = (size_t)__builtin_ctzll(ties);                                              \
            on |= (uint64_t)break_tie(s, r, w * 64 + i, (float)group[i] / a->scale) << i;          \
        }                                                                                          \
        return on;                                                                                 \
    }                                                                                              \
                                                                                                   \
    static void binarize_##suffix(const void *args, rbm_worker *me) {                              \
        const rbm_binarize_args a = *(const rbm_binarize_args *)args;                              \
        static const type blank[64];                                                               \
        const stream s = open_stream(&a.draw);                                                     \
        const type *images = a.images;                                                             \
        const int64_t *index = a.index;                                                            \
        size_t units = a.units, words = (units + 63) / 64;                                         \
        EACH_ROW(me, 8, a.rows, r) {                                                               \
            const type *image = images + (size_t)index[r] * units;                                 \
            uint64_t *row = a.bits + r * a.words;                                                  \
            if (r + 1 < a.rows) /* images in shuffled order are not foreseen by the hardware */    \
                prefetch(images + (size_t)index[r + 1] * units, units * sizeof *image);            \
            for (size_t w = 0; w < words; w++) {                                                   \
                const type *group = image + w * 64;                                                \
                type tail[64] = {0};                                                               \
                if (units - w * 64 < 64)                                                           \
                    group = memcpy(tail, group, (units - w * 64) * sizeof *group);                 \
                row[w] = a.how == RBM_SAMPLE && !memcmp(group, blank, sizeof blank)                \
                             ? 0                                                                   \
                             : binarize_group_##suffix(&a, &s, r, w, group);                       \
            }                                                                                      \
            clear_bits_beyond(row, units, a.words);                                                \
        }                                                                                          \
    }

BINARIZE(u8, uint8_t)
BINARIZE(f32, float)

/* Append base + i for each bit i of the LANES bits in `on`; return where the list then ends. */
INLINE uint32_t *append_on(uint32_t on, uint32_t base, uint32_t *next) {
#if LANES == 16
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    int count = __builtin_popcount(on);
    __m512i units = _mm512_add_epi32(_mm512_set1_epi32((int)base), lane);
    _mm512_mask_storeu_epi32(next, (__mmask16)((1u << count) - 1),
                             _mm512_maskz_compress_epi32((__mmask16)on, units));
    return next + count;
#else
    for (; on; on &= on - 1)
        *next++ = base + (uint32_t)__builtin_ctz(on);
    return next;
#endif
}

/* As rbm_count_on, with the instructions of the target. */
INLINE size_t count_bits(const uint64_t *bits, size_t words) {
    size_t on = 0;
    for (size_t w = 0; w < words; w++)
        on += (size_t)__builtin_popcountll(bits[w]);
    return on;
}

/* The units that are on in some words, the first of which is that of `unit`; returns the end. */
INLINE uint32_t *list_words(const uint64_t *bits, size_t words, uint32_t unit, uint32_t *next) {
    /* Groups that one append takes: vector-wide where it compresses, else a whole half-word. */
    enum { GROUP = LANES == 16 ? 16 : 32 };
    for (size_t w = 0; w < words; w++, unit += 64) {
        uint64_t word = bits[w];
        for (uint32_t g = 0; word && g < 64; g += GROUP, word >>= GROUP)
            next = append_on((uint32_t)(word & ((UINT64_C(1) << GROUP) - 1)), unit + g, next);
    }
    return next;
}

/* start (rows + 1) = where the list of each row begins, and the last one ends; index: the lists.
 * Every thread lists a part of the rows, and counts what comes before: that takes less time than to
 * meet those who know. */
static void list_rows(const uint64_t *bits, size_t rows, size_t words, uint32_t *start,
                      uint32_t *index, const rbm_worker *me) {
    size_t thread = (size_t)me->thread, threads = (size_t)me->threads;
    size_t first = rows * thread / threads, end = rows * (thread + 1) / threads;
    uint32_t *next = index + count_bits(bits, first * words);
    for (size_t r = first; r < end; r++) {
        start[r] = (uint32_t)(next - index);
        next = list_words(bits + r * words, words, 0, next);
    }
    if (thread + 1 == threads)
        start[rows] = (uint32_t)(next - index);
}

static void list_on(const void *args, rbm_worker *me) {
    const rbm_list_on_args a = *(const rbm_list_on_args *)args;
    list_rows(a.bits, a.rows, a.words, a.start, a.index, me);
}

/* Vectors of LANES floats, in GCC's and clang's vector extensions: the kernel bodies are written
 * once in these and compiled for each target. What the extensions cannot say stands at the end,
 * once per instruction set. */
#ifndef RBM_VEC_H
#define RBM_VEC_H

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef float vfloat __attribute__((vector_size(4 * LANES)));
typedef int32_t vint __attribute__((vector_size(4 * LANES)));
typedef uint32_t vword __attribute__((vector_size(4 * LANES)));
typedef uint64_t vpair __attribute__((vector_size(4 * LANES))); /* LANES / 2 64-bit lanes */
typedef int64_t vlong __attribute__((vector_size(4 * LANES)));
typedef double vdouble __attribute__((vector_size(4 * LANES)));
typedef float vhalf __attribute__((vector_size(2 * LANES))); /* LANES / 2 32-bit lanes */
typedef int32_t vhalfint __attribute__((vector_size(2 * LANES)));

INLINE vfloat load(const float *p) {
    vfloat v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void store(float *p, vfloat v) {
    memcpy(p, &v, sizeof v);
}

INLINE vfloat splat(float x) {
    return x - (vfloat){0};
}

/* Lane-wise mask ? a : b. */
INLINE vfloat choose(vint mask, vfloat a, vfloat b) {
    return (vfloat)((mask & (vint)a) | (~mask & (vint)b));
}

/* Lanes of a, then of b, as the list says. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#ifndef SHUFFLE
#error "the compiler lacks __builtin_shufflevector: use GCC 12 or later, or clang"
#endif

#if LANES == 16
#define LANE_NUMBERS {0, 1, 2, 3, 4, 5, 6, 7}
#define INTERLEAVE_LOW_PAIRS(a, b) SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define INTERLEAVE_HIGH_PAIRS(a, b) SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#elif LANES == 8
#define LANE_NUMBERS {0, 1, 2, 3}
#define INTERLEAVE_LOW_PAIRS(a, b) SHUFFLE(a, b, 0, 4, 1, 5)
#define INTERLEAVE_HIGH_PAIRS(a, b) SHUFFLE(a, b, 2, 6, 3, 7)
#else
#define LANE_NUMBERS {0, 1}
#define INTERLEAVE_LOW_PAIRS(a, b) SHUFFLE(a, b, 0, 2)
#define INTERLEAVE_HIGH_PAIRS(a, b) SHUFFLE(a, b, 1, 3)
#endif

/* Transpose a LANES x LANES block held in registers: each step swaps off-diagonal blocks of half
 * the size. */
#define SWAP_STEP(m, distance, LOW, HIGH)                                                          \
    for (int i = 0; i < LANES; i++)                                                                \
        if (!(i & (distance))) {                                                                   \
            vfloat low = SHUFFLE(m[i], m[i + (distance)], LOW);                                    \
            vfloat high = SHUFFLE(m[i], m[i + (distance)], HIGH);                                  \
            m[i] = low;                                                                            \
            m[i + (distance)] = high;                                                              \
        }

INLINE void transpose_block(vfloat m[LANES]){
#if LANES == 16
#define LOW8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define HIGH8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define LOW4 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define HIGH4 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define LOW2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define HIGH2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define LOW1 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define HIGH1 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
    SWAP_STEP(m, 8, LOW8, HIGH8) SWAP_STEP(m, 4, LOW4, HIGH4)
#elif LANES == 8
#define LOW4 0, 1, 2, 3, 8, 9, 10, 11
#define HIGH4 4, 5, 6, 7, 12, 13, 14, 15
#define LOW2 0, 1, 8, 9, 4, 5, 12, 13
#define HIGH2 2, 3, 10, 11, 6, 7, 14, 15
#define LOW1 0, 8, 2, 10, 4, 12, 6, 14
#define HIGH1 1, 9, 3, 11, 5, 13, 7, 15
    SWAP_STEP(m, 4, LOW4, HIGH4)
#else
#define LOW2 0, 1, 4, 5
#define HIGH2 2, 3, 6, 7
#define LOW1 0, 4, 2, 6
#define HIGH1 1, 5, 3, 7
#endif
        SWAP_STEP(m, 2, LOW2, HIGH2) SWAP_STEP(m, 1, LOW1, HIGH1)}

/* Per instruction set:
 *   multiply_low(a, b): per 64-bit lane, the full product of the low 32-bit halves;
 *   lane_bits(mask): one bit per lane of a comparison's result;
 *   multiply_add(a, b, c): a b + c, rounded once;
 *   square_root(x): rounded correctly, as IEEE 754 has it, and so the same everywhere;
 *   greater(a, b), lesser(a, b): b where they are equal or either is a NaN;
 *   load_first(p, n), store_first(p, x, n): the first n <= LANES lanes, the memory beyond being
 *   neither read nor written; lanes that are not loaded are 0. */
#if LANES == 16
INLINE vpair multiply_low(vpair a, vpair b) {
    return (vpair)_mm512_mul_epu32((__m512i)a, (__m512i)b);
}
INLINE uint32_t lane_bits(vint mask) {
    return _mm512_movepi32_mask((__m512i)mask);
}
INLINE vfloat multiply_add(vfloat a, vfloat b, vfloat c) {
    return (vfloat)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
INLINE vfloat square_root(vfloat x) {
    return (vfloat)_mm512_sqrt_ps((__m512)x);
}
INLINE vfloat greater(vfloat a, vfloat b) {
    return (vfloat)_mm512_max_ps((__m512)a, (__m512)b);
}
INLINE vfloat lesser(vfloat a, vfloat b) {
    return (vfloat)_mm512_min_ps((__m512)a, (__m512)b);
}
INLINE vfloat load_first(const float *p, size_t n) {
    return (vfloat)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
INLINE void store_first(float *p, vfloat x, size_t n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)x);
}
#elif LANES == 8
INLINE vpair multiply_low(vpair a, vpair b) {
    return (vpair)_mm256_mul_epu32((__m256i)a, (__m256i)b);
}
INLINE uint32_t lane_bits(vint mask) {
    return (uint32_t)_mm256_movemask_ps((__m256)mask);
}
INLINE vfloat multiply_add(vfloat a, vfloat b, vfloat c) {
    return (vfloat)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
INLINE vfloat square_root(vfloat x) {
    return (vfloat)_mm256_sqrt_ps((__m256)x);
}
INLINE vfloat greater(vfloat a, vfloat b) {
    return (vfloat)_mm256_max_ps((__m256)a, (__m256)b);
}
INLINE vfloat lesser(vfloat a, vfloat b) {
    return (vfloat)_mm256_min_ps((__m256)a, (__m256)b);
}
INLINE __m256i first_lanes(size_t n) {
    return (__m256i)((vint){0, 1, 2, 3, 4, 5, 6, 7} < (vint){0} + (int32_t)n);
}
INLINE vfloat load_first(const float *p, size_t n) {
    return (vfloat)_mm256_maskload_ps(p, first_lanes(n));
}
INLINE void store_first(float *p, vfloat x, size_t n) {
    if (n == LANES) /* some processors are slow to store by a mask */
        store(p, x);
    else
        _mm256_maskstore_ps(p, first_lanes(n), (__m256)x);
}
#elif defined(__SSE2__)
INLINE vpair multiply_low(vpair a, vpair b) {
    return (vpair)_mm_mul_epu32((__m128i)a, (__m128i)b);
}
INLINE uint32_t lane_bits(vint mask) {
    return (uint32_t)_mm_movemask_ps((__m128)mask);
}
#define EMULATED_MULTIPLY_ADD
/* Two lanes of a b + c in float64: the product has all of its digits there. Where the sum does not,
 * and the digits that float32 drops are on the edge between two of its numbers, rounding twice
 * could go astray: there the last digit is made odd, so that it says on which side the rest lies
 * (Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums"). */
INLINE __m128 multiply_add_halves(__m128d a, __m128d b, __m128d c) {
    const __m128i dropped = _mm_set1_epi64x(0x1fffffff), edge = _mm_set1_epi64x(0x10000000);
    const __m128d sign = _mm_set1_pd(-0.0), least = _mm_set1_pd(0x1p-126);
    __m128d product = _mm_mul_pd(a, b), sum = _mm_add_pd(product, c);
    /* Sums below the normal numbers of float32 drop more digits. */
    __m128d near = _mm_or_pd(
        _mm_castsi128_pd(_mm_cmpeq_epi32(_mm_and_si128(_mm_castpd_si128(sum), dropped), edge)),
        _mm_and_pd(_mm_cmplt_pd(_mm_andnot_pd(sign, sum), least),
                   _mm_cmpneq_pd(sum, _mm_setzero_pd())));
    /* Of the comparison of 32-bit halves the high ones are of zeros with zeros: the low ones count.
     */
    if (_mm_movemask_epi8(_mm_castpd_si128(near)) & 0x0f0f) {
        __m128d other = _mm_sub_pd(sum, product);
        __m128d error =
            _mm_add_pd(_mm_sub_pd(product, _mm_sub_pd(sum, other)), _mm_sub_pd(c, other));
        double s[2], e[2];
        _mm_storeu_pd(s, sum);
        _mm_storeu_pd(e, error);
        for (int i = 0; i < 2; i++) {
            int64_t bits;
            memcpy(&bits, s + i, sizeof bits);
            if (e[i] != 0 && !(bits & 1))
                bits += (e[i] > 0) == (s[i] > 0) ? 1 : -1;
            memcpy(s + i, &bits, sizeof bits);
        }
        sum = _mm_loadu_pd(s);
    }
    return _mm_cvtpd_ps(sum);
}
INLINE vfloat multiply_add(vfloat x, vfloat y, vfloat z) {
    __m128 a = (__m128)x, b = (__m128)y, c = (__m128)z;
    __m128 low = multiply_add_halves(_mm_cvtps_pd(a), _mm_cvtps_pd(b), _mm_cvtps_pd(c));
    __m128 high =
        multiply_add_halves(_mm_cvtps_pd(_mm_movehl_ps(a, a)), _mm_cvtps_pd(_mm_movehl_ps(b, b)),
                            _mm_cvtps_pd(_mm_movehl_ps(c, c)));
    return (vfloat)_mm_movelh_ps(low, high);
}
INLINE vfloat square_root(vfloat x) {
    return (vfloat)_mm_sqrt_ps((__m128)x);
}
INLINE vfloat greater(vfloat a, vfloat b) {
    return (vfloat)_mm_max_ps((__m128)a, (__m128)b);
}
INLINE vfloat lesser(vfloat a, vfloat b) {
    return (vfloat)_mm_min_ps((__m128)a, (__m128)b);
}
#elif defined(__aarch64__)
INLINE vpair multiply_low(vpair a, vpair b) {
    return (vpair)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
}
INLINE uint32_t lane_bits(vint mask) {
    const vword weight = {1, 2, 4, 8};
    return vaddvq_u32((uint32x4_t)((vword)mask & weight));
}
INLINE vfloat multiply_add(vfloat a, vfloat b, vfloat c) {
    return (vfloat)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
INLINE vfloat square_root(vfloat x) {
    return (vfloat)vsqrtq_f32((float32x4_t)x);
}
#else
INLINE vpair multiply_low(vpair a, vpair b) {
    return (a & 0xffffffffu) * (b & 0xffffffffu);
}
INLINE uint32_t lane_bits(vint mask) {
    return (uint32_t)((mask[0] & 1) | (mask[1] & 2) | (mask[2] & 4) | (mask[3] & 8));
}
INLINE vfloat multiply_add(vfloat a, vfloat b, vfloat c) {
    for (int i = 0; i < LANES; i++)
        c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
}
INLINE vfloat square_root(vfloat x) {
    for (int i = 0; i < LANES; i++)
        x[i] = __builtin_sqrtf(x[i]);
    return x;
}
#endif
#if LANES == 4 && !defined(__SSE2__)
INLINE vfloat greater(vfloat a, vfloat b) {
    return choose(a > b, a, b);
}
INLINE vfloat lesser(vfloat a, vfloat b) {
    return choose(a < b, a, b);
}
#endif
#if LANES == 4
INLINE vfloat load_first(const float *p, size_t n) {
    if (n == LANES)
        return load(p);
    vfloat x = {0};
    for (size_t i = 0; i < n; i++)
        x[i] = p[i];
    return x;
}
INLINE void store_first(float *p, vfloat x, size_t n) {
    if (n == LANES)
        store(p, x);
    else
        for (size_t i = 0; i < n; i++)
            p[i] = x[i];
}
#endif

/* One bit for each lane in which a < b, or a == b. AVX-512 compares into such bits. */
INLINE uint32_t bits_below(vint a, vint b) {
#if LANES == 16
    return _mm512_cmplt_epi32_mask((__m512i)a, (__m512i)b);
#else
    return lane_bits(a < b);
#endif
}
INLINE uint32_t bits_equal(vint a, vint b) {
#if LANES == 16
    return _mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b);
#else
    return lane_bits(a == b);
#endif
}

/* All ones in the lanes whose bits, the lowest LANES, are on. */
INLINE vint lane_mask(uint32_t bits) {
#if LANES == 16
    const vint lane = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
#elif LANES == 8
    const vint lane = {1, 2, 4, 8, 16, 32, 64, 128};
#else
    const vint lane = {1, 2, 4, 8};
#endif
    return (((vint){0} + (int32_t)bits) & lane) != 0;
}

/* x in the lanes whose bits, the lowest LANES, are on; zeros in the others. */
INLINE vfloat keep(uint32_t bits, vfloat x) {
#if LANES == 16
    return (vfloat)_mm512_maskz_mov_ps((__mmask16)bits, (__m512)x);
#else
    return (vfloat)(lane_mask(bits) & (vint)x);
#endif
}

INLINE size_t at_most_of(size_t left, size_t most) {
    return left < most ? left : most;
}

/* A NaN in x comes through. */
INLINE vfloat at_least(vfloat x, float bound) {
    return greater(splat(bound), x);
}
INLINE vfloat at_most(vfloat x, float bound) {
    return lesser(splat(bound), x);
}

#endif

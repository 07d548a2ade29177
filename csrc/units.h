/* Unit kinds: the loops that their kernels are made of, and one file for each kind.
 *
 * Where a kind has more than two states, its draws are by inversion with one uniform a unit, from
 * the middle of the uniform's step of 2^-24, so that no draw lies infinitely far out. */

/* The kernel `name` of a kind whose states are floats. MEAN(x, n) gives means and SAMPLE(x, words,
 * n) draws for LANES units; `cost` is about the number of operations. */
#define FLOAT_UNITS(name, MEAN, SAMPLE, cost)                                                      \
    static void name(const float *total, size_t rows, size_t units, size_t ld, size_t n,           \
                     float *mean, float *states, const rbm_draw *draw, int threads) {              \
        const stream s = open_stream(draw);                                                        \
        (void)n;                                                                                   \
        PARALLEL_FOR(threads, 8, rows * units * (cost) / LANES)                                    \
        for (size_t r = 0; r < rows; r++) {                                                        \
            size_t row = r * ld;                                                                   \
            for (size_t u = 0; u < units; u += DRAWN) {                                            \
                vword words[2];                                                                    \
                if (states)                                                                        \
                    philox(&s, (uint32_t)r, (uint32_t)u, words);                                   \
                for (size_t i = 0, c = u; i < 2 && c < units; i++, c += LANES) {                   \
                    vfloat x = load(total + row + c);                                              \
                    if (states)                                                                    \
                        store(states + row + c, SAMPLE(x, words[i], n));                           \
                    if (mean)                                                                      \
                        store(mean + row + c, MEAN(x, n));                                         \
                }                                                                                  \
            }                                                                                      \
            if (states)                                                                            \
                memset(states + row + units, 0, (ld - units) * sizeof *states);                    \
            if (mean)                                                                              \
                memset(mean + row + units, 0, (ld - units) * sizeof *mean);                        \
        }                                                                                          \
    }

/* The kernel `name` of cumulants, VALUE(x) giving those of LANES units. Sums run over the units in
 * order, whatever LANES is. */
#define CUMULANT(name, VALUE)                                                                      \
    static void name(const float *total, size_t rows, size_t units, size_t ld, size_t n,           \
                     float scale, double weight, double *out, int threads) {                       \
        (void)n;                                                                                   \
        PARALLEL_FOR(threads, 8, rows * units)                                                     \
        for (size_t r = 0; r < rows; r++) {                                                        \
            double sum = 0;                                                                        \
            for (size_t u = 0; u < units; u += LANES) {                                            \
                float values[LANES];                                                               \
                store(values, VALUE(splat(scale) * load(total + r * ld + u)));                     \
                for (size_t i = 0; i < LANES && u + i < units; i++)                                \
                    sum += values[i];                                                              \
            }                                                                                      \
            out[r] += weight * sum;                                                                \
        }                                                                                          \
    }

/* Base measures that depend on counts are looked up. */
static void sum_tabulated(const float *states, size_t rows, size_t units, size_t ld,
                          const double *table, size_t size, double *out, int threads) {
    PARALLEL_FOR(threads, 8, rows * units)
    for (size_t r = 0; r < rows; r++) {
        double sum = 0, last = (double)(size - 1);
        for (size_t u = 0; u < units; u++) {
            double s = (double)states[r * ld + u];
            s = s < 0 ? 0 : s > last ? last : s;
            size_t below = s >= last ? size - 2 : s > 0 ? (size_t)s : 0; /* 0 where s is a NaN */
            sum += table[below] + (s - (double)below) * (table[below + 1] - table[below]);
        }
        out[r] = sum;
    }
}

#include "units/bernoulli.h"
#include "units/binomial.h"
#include "units/gaussian.h"
#include "units/nrelu.h"
#include "units/softmax.h"
#include "units/pooled.h"

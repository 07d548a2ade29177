/* Unit kinds: the loops that their kernels are made of, and one file for each kind.
 *
 * Where a kind has more than two states, its draws are by inversion with one uniform a unit, from
 * the middle of the uniform's step of 2^-24, so that no draw lies infinitely far out. */

/* The kernel `name` of a kind whose states are floats. MEAN(x, n) gives means and SAMPLE(x, words,
 * n) draws for LANES units. */
#define FLOAT_UNITS(name, MEAN, SAMPLE)                                                            \
    static void name(const void *args, rbm_worker *me) {                                           \
        const rbm_units_args a = *(const rbm_units_args *)args;                                    \
        const stream s = open_stream(&a.draw);                                                     \
        const float *total = a.total;                                                              \
        float *mean = a.mean, *states = a.states;                                                  \
        size_t units = a.units, ld = a.ld, n = a.n;                                                \
        (void)n;                                                                                   \
        EACH_ROW(me, 8, a.rows, r) {                                                               \
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
    static void name(const void *args, rbm_worker *me) {                                           \
        const rbm_cumulant_args a = *(const rbm_cumulant_args *)args;                              \
        EACH_ROW(me, 8, a.rows, r) {                                                               \
            double sum = 0;                                                                        \
            for (size_t u = 0; u < a.units; u += LANES) {                                          \
                float values[LANES];                                                               \
                store(values, VALUE(splat(*a.scale) * load(a.total + r * a.ld + u)));              \
                for (size_t i = 0; i < LANES && u + i < a.units; i++)                              \
                    sum += values[i];                                                              \
            }                                                                                      \
            a.out[r] += a.weight * sum;                                                            \
        }                                                                                          \
    }

/* Base measures that depend on counts are looked up. */
static void sum_tabulated(const void *args, rbm_worker *me) {
    const rbm_sum_tabulated_args a = *(const rbm_sum_tabulated_args *)args;
    const double *table = a.table;
    EACH_ROW(me, 8, a.rows, r) {
        double sum = 0, last = (double)(a.size - 1);
        for (size_t u = 0; u < a.units; u++) {
            double s = (double)a.states[r * a.ld + u];
            s = s < 0 ? 0 : s > last ? last : s;
            size_t below = s >= last ? a.size - 2 : s > 0 ? (size_t)s : 0; /* 0 where s is a NaN */
            sum += table[below] + (s - (double)below) * (table[below + 1] - table[below]);
        }
        a.out[r] = sum;
    }
}

/* The kernels of all kinds, and then their entries in the table. */
#include "units/kinds.h"

#define KIND(label, ...) {.name = label, __VA_ARGS__},
static const rbm_kind kinds[] = {
#include "units/kinds.h"
};
#undef KIND

#include "units/pooled.h"

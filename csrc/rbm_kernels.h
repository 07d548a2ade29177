/* The kernels: plain functions of their arguments and a thread of the team that runs them (team.h),
 * one table of them per instruction set.
 *
 * Conventions, for every kernel below:
 *  - Matrices are row-major float32 with a leading dimension `ld` that is a multiple of
 *    RBM_PAD floats, so that a row is whole vectors on every target. The columns beyond the
 *    matrix's own width are zero, and every kernel keeps them so.
 *  - Binary states are bit rows: unit u of a row is bit u % 64 of word u / 64 of that row's
 *    `words` 64-bit words. Bits beyond the last unit are zero.
 *  - On-lists: the units that are on in row r are index[start[r] .. start[r + 1]), ascending.
 *  - A result never depends on the number of threads: work is shared out by output element, and
 *    each element is computed in one fixed order.
 */
#ifndef RBM_KERNELS_H
#define RBM_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "team.h"

/* Such flags let the compiler reorder sums and take NaN for impossible. Then results depend on the
 * compiler and the instruction set, and weights that are no longer finite are not seen. */
#if defined(__FAST_MATH__) || __FINITE_MATH_ONLY__ == 1
#error "rbmcli is not built with -ffast-math or a part of it: take it out of CFLAGS"
#endif

#define RBM_PAD 16 /* floats in the widest vector: one 64-byte cache line */
#define RBM_ROWS 4 /* rows that a chain of kernels is at, at a time */

/* Names one family of Philox 4x32-10 draws. The random word of unit u in row r is word u % 4 of
 * the block with counter (u / 4, row0 + r, substep, step) under this key. */
typedef struct {
    uint32_t key[2];
    uint32_t step;
    uint32_t substep;
    uint32_t row0;
} rbm_draw;

/* How an image in [0, 1] becomes visible states. */
enum rbm_binarize { RBM_SAMPLE = 0, RBM_THRESHOLD = 1 };

/* The step of the update rule:
 *   step = rate * (gradient - decay * weight - l1 * sign(weight))
 *   velocity = momentum * velocity + step
 *   weight += velocity, or with nesterov: weight += momentum * velocity + step */
typedef struct {
    float rate;
    float momentum;
    float decay;
    float l1;
    int nesterov;
} rbm_rule;

/* left' right, to be added to a gradient (visible x ld): left is rank x ld_visible, right is
 * rank x ld_hidden. Rank 0: nothing. */
typedef struct {
    const float *left;
    const float *right;
    size_t rank;
} rbm_low_rank;

/* Weights of a dense link with what an update touches. */
typedef struct {
    float *weights;  /* visible x ld_hidden */
    float *velocity; /* visible x ld_hidden */
    size_t visible, hidden, ld_visible, ld_hidden;
} rbm_dense;

/* One side of the gradient: states of the visible layer, as bits or real-valued, and of the hidden
 * one as means. */
typedef struct {
    const uint64_t *visible; /* rows x words; null where there are */
    const float *values;     /* rows x ld_visible */
    const float *hidden;     /* rows x ld_hidden */
    size_t rows, words;
} rbm_phase;

/* What a layer of a dense link learns besides the link, a value a unit, padded with zeros to whole
 * vectors. Units with standard deviations, else `sigma` is null, have `natural` biases, bias /
 * sigma; where deviations are learned, `log_sigma` is not null. */
typedef struct {
    float *bias, *bias_velocity;
    float *natural, *sigma;
    float *log_sigma, *log_sigma_velocity;
    float most_log_sigma; /* the largest magnitude that it may have */
} rbm_layer;

/* The maps that a convolutional link connects: visible ones, channels last, and hidden ones,
 * filters last. Hidden unit (y, x, k) sees visible units (y + fy, x + fx, c), fy and fx lying
 * within a filter. Weights are taps x ld, tap (fy * filter_width + fx) * channels + c. */
typedef struct {
    size_t height, width, channels, filter_height, filter_width, filters;
    size_t hidden_height, hidden_width;
} rbm_maps;

/* Hidden maps, filters last, in blocks of pool x pool positions: of the units of one filter in a
 * block at most one is on. Height and width are multiples of pool. The block (py, px) of filter k
 * is pooled unit (py * (width / pool) + px) * filters + k. */
typedef struct {
    size_t height, width, filters, pool;
} rbm_pool;

#define RBM_MOST_POOL 16 /* positions along a side of a block */

/* The arguments of each kernel, and what it does with them. ------------------------------------ */

/* bits (rows x words) = images[index[r]] / scale as binary states: on where a uniform draw in
 * [0, 1) lies below the value (sample), or where the value exceeds `threshold`. */
typedef struct {
    const void *images; /* n x units, uint8 or float32 */
    size_t units;
    const int64_t *index;
    size_t rows;
    float scale;
    enum rbm_binarize how;
    float threshold;
    rbm_draw draw;
    uint64_t *bits;
    size_t words;
} rbm_binarize_args;

/* Write the on-lists of bit rows: start (rows + 1), index (as many as rbm_count_on says). */
typedef struct {
    const uint64_t *bits;
    size_t rows, words;
    uint32_t *start, *index;
} rbm_list_on_args;

/* A matrix by which states are multiplied, a row of it for each unit, or, if it is `turned`, a
 * column: units x ld of which `width` columns count, or width x ld. */
typedef struct {
    const float *at;
    size_t ld;
    int turned;
} rbm_matrix;

/* out (rows x ld) = bias + the sum of the matrix's rows of the units that are on, for bit rows
 * (rows x words, of `units` units): by their on-lists, or by tables of partial sums, whichever is
 * quicker. Where `first` is less than the units, it is two sums: bias and the first units, and the
 * others. Workspace: start, rows + 1; index, rbm_index_length; second, rows x ld, where there is a
 * second sum. */
typedef struct {
    const uint64_t *bits;
    size_t rows, words, units, first;
    rbm_matrix matrix;
    size_t width;
    const float *bias;
    float *out;
    size_t ld; /* of out */
    uint32_t *start, *index;
    float *second;
} rbm_bit_inputs_args;

/* How many units the first sum is of. Where a batch is small for the matrix, half of these, whole
 * words of bits: of two threads each then reads the rows of the matrix that it will update, which
 * it still has in its own cache. Which sums there are depends on these sizes alone. */
static inline size_t rbm_first_units(size_t rows, size_t units) {
    return units >= 128 && 4 * rows <= units ? units / 128 * 64 : units;
}

/* How many bits may be on where they are listed. A list costs an addition for each, tables one for
 * every 4 bits, on or not, and those of some 12 rows to be made; as they lie nearer, 4 take the
 * time of 5. This depends on the states alone, so that results do not depend on time. */
static inline size_t rbm_most_listed(size_t rows, size_t units) {
    size_t all = rows * units, fewer = (rows + 12) * units / 5;
    return all < fewer ? all : fewer;
}

/* Length of `index`: the lists, or 8 places of 2 bytes for every 32 units of a row. */
static inline size_t rbm_index_length(size_t rows, size_t units) {
    size_t listed = rbm_most_listed(rows, units) + 1, placed = 4 * rows * ((units + 31) / 32);
    return listed > placed ? listed : placed;
}

/* out (rows x ld) = bias + a b. a[r, k] = a[r * a_row + k * a_inner], b: inner x width.
 * Where bias is null, the product is added to out times `scale`: out += scale a b. */
typedef struct {
    const float *a;
    size_t a_row, a_inner, inner;
    rbm_matrix b;
    size_t width;
    const float *bias;
    float scale;
    float *out;
    size_t ld, rows;
} rbm_multiply_args;

/* Units of one kind, given their total inputs (rows x ld): their means (rows x ld), which may be
 * written over the total inputs, and drawn states, either bits (rows x words) or floats (rows x
 * ld), in memory of their own. Either output may be null. `n` is the number of families of kinds,
 * such as the N of binomial:N and softmax:N, else 1. */
typedef struct {
    const float *total;
    size_t rows, units, ld, n;
    float *mean;
    void *states;
    size_t words; /* of a row of bits */
    rbm_draw draw;
} rbm_units_args;

/* out[r] += weight * the sum over units, or groups of them, of the cumulant (log-partition
 * function) at *scale * total[r, u]. The terms are float32, their sum float64. */
typedef struct {
    const float *total;
    size_t rows, units, ld, n;
    const float *scale;
    double weight;
    double *out;
} rbm_cumulant_args;

/* out[r] += weight * the sum over units of what the cumulant changes by from before * total[r, u]
 * to after * total[r, u], before and after being two betas, in float64. Columns of total beyond the
 * units must be 0. */
typedef struct {
    const float *total;
    size_t rows, units, ld, n;
    const float *beta; /* before, after */
    double weight;
    double *out;
} rbm_cumulant_change_args;

/* total[r] = beta[r] total[r], and, where reference (ld) is not null, (1 - beta[r]) times it more.
 * With `each` 0, beta has one value for all rows. */
typedef struct {
    float *total;
    size_t rows, ld;
    const float *beta;
    int each;
    const float *reference;
} rbm_temper_args;

/* out[r] = the sum over units of the table's values at the states (rows x ld), interpolated
 * between whole numbers, and beyond 0 .. size - 1 (at least 1) those at the ends. */
typedef struct {
    const float *states;
    size_t rows, units, ld;
    const double *table;
    size_t size;
    double *out;
} rbm_sum_tabulated_args;

/* out[r] = the sum over a row's ld columns of matrix[r] times vector, in float64; or, where weight
 * is not null, out[r] += the value there times that sum. */
typedef struct {
    const float *matrix;
    size_t rows, ld;
    const float *vector;
    const double *weight;
    double *out;
} rbm_dot_rows_args;

/* out[c] = the sum over rows of matrix[r, c] times vector[r], in float64. */
typedef struct {
    const float *matrix;
    size_t rows, ld, width;
    const float *vector;
    double *out;
} rbm_dot_columns_args;

/* As dot_rows, of the entries of the vector, padded, that row r of bits (rows x words) selects. */
typedef struct {
    const uint64_t *bits;
    size_t rows, words, units;
    const float *vector;
    const double *weight;
    double *out;
} rbm_dot_bits_args;

/* out[c] = the sum of column c over the rows, each times its weight where `weight` is given. */
typedef struct {
    const float *matrix;
    size_t rows, ld, width;
    const float *weight;
    float *out;
} rbm_column_sums_args;

/* gradient (visible x ld) += scale * visible' hidden over the rows of one phase, the means being
 * rows x ld of which `width` columns count. Workspace: count, visible; index, visible x rows;
 * scaled, rows x ld. */
typedef struct {
    rbm_phase phase;
    float scale;
    size_t visible, width, ld;
    float *gradient;
    uint32_t *count, *index;
    float *scaled;
} rbm_accumulate_args;

/* One step of the rule on the weights, given the gradient. *finite becomes 0 if a weight is no
 * longer finite; else it stays as it is. */
typedef struct {
    rbm_dense link;
    const float *gradient;
    rbm_rule rule;
    int *finite;
} rbm_apply_args;

/* accumulate(positive, 1 / rows), accumulate(negative, -1 / rows), the correction and apply in
 * one pass over the weights, without storing the gradient. Both phases have states of one form.
 * Workspace: lists, rbm_lists_length; scaled, (positive rows + negative rows + the smaller of
 * them) x ld_hidden. */
typedef struct {
    rbm_dense link;
    rbm_phase positive, negative;
    rbm_low_rank correction;
    rbm_rule rule;
    uint32_t *lists;
    float *scaled;
    int *finite;
} rbm_update_args;

/* Length of `lists`: of bits, how many rows each unit is on in, and which; of values, for any 16
 * units and 64 rows of a phase, 4 words of 64 bits that say which rows count. */
static inline size_t rbm_lists_length(size_t visible, size_t rows0, size_t rows1) {
    size_t listed = visible * (1 + (rows0 > rows1 ? rows0 : rows1));
    size_t there = 8 * ((visible + 15) / 16) * ((rows0 + 63) / 64 + (rows1 + 63) / 64);
    return listed > there ? listed : there;
}

/* How a step learns: the rule, `decay` being the rule's in float64; and where states are counted
 * from offsets, how fast these follow the data, whether hidden ones do, and whether the products of
 * the rule's penalties with them are to be made anew. *finite becomes 0 if something is no longer
 * finite; else it stays as it is. */
typedef struct {
    rbm_rule rule;
    double decay;
    float slide;
    int follow_hidden, refresh;
    int *finite;
} rbm_learning;

/* A whole step: means of both phases, offsets that follow the data's, the centred gradient
 * (Melchior, Fischer and Wiskott 2016), `update`, and the rule without decay on biases and
 * logarithms of deviations. Where offset_visible is null nothing is centred. Workspace: as of
 * `update`; vectors, RBM_LEARN_FLOATS(ld_visible, ld_hidden, rows of both, whether visible units
 * learn deviations). */
#define RBM_LEARN_FLOATS(ld_visible, ld_hidden, rows, deviations)                                  \
    (4 * (ld_visible) + 6 * (ld_hidden) + 2 * (rows) + RBM_PAD +                                   \
     ((deviations) ? (ld_visible) * (2 + (ld_hidden) / RBM_DOT) : 0))

/* Columns of weights whose products with the gradient are summed at once. */
#define RBM_DOT 8

typedef struct {
    rbm_dense link;
    rbm_phase positive, negative;
    rbm_learning how;
    float *offset_visible, *offset_hidden;   /* ld_visible, ld_hidden */
    float *penalty_visible, *penalty_hidden; /* visible, hidden */
    rbm_layer visible, hidden;
    uint32_t *lists;
    float *scaled, *vectors;
} rbm_learn_args;

/* States (rows x ld) = images[index[r]] / scale, and / sigma (units) where it is not null. */
typedef struct {
    const void *images; /* n x units, uint8 or float32 */
    size_t units;
    const int64_t *index;
    size_t rows;
    float scale;
    const float *sigma;
    float *states;
    size_t ld;
} rbm_take_args;

/* out (count, a multiple of RBM_PAD) = the exponentials of values within [-87, 88]. */
typedef struct {
    const float *values;
    size_t count;
    float *out;
} rbm_exponentials_args;

/* Total inputs of one layer of a convolutional link: out (rows x ld) = bias (ld) + the sum over the
 * units of the other layer of state times weight, from bits (rows x words) or from real-valued
 * states. Terms are added to the bias one by one in ascending order of the units. Columns beyond
 * the units become 0. `memory` is to work in: as many bytes as the kernel's `_memory` says; before,
 * an `arrange` kernel lays the filters out there, which serves while they stay the same. */
typedef struct {
    const float *weights;
    rbm_maps maps;
    size_t ld_weights;
    const uint64_t *bits;
    size_t words;
    const float *values; /* rows x ld_values, where bits is null */
    size_t ld_values;
    size_t rows;
    const float *bias;
    float *out;
    size_t ld;
    void *memory;
} rbm_inputs_args;

/* One side of the gradient of a convolutional link: visible states, as bits (rows x words) or,
 * where these are null, as values (rows x ld_values), and hidden ones (rows x ld_hidden). */
typedef struct {
    const uint64_t *bits;
    const float *values;
    const float *hidden;
    size_t rows;
    float scale;
} rbm_side;

/* The sums over rows and positions of visible times hidden states, times their side's scale, of two
 * sides of one form, of which the second may have no rows: `correlate` makes those of RBM_ROWS rows
 * each, in `memory`; `sum_gradient` adds them up, gradient (taps x ld) = or, where `add` says so,
 * += these. Where row r of both sides has a bit on, the sum of their scaled hidden rows is added
 * once. Before, `arrange_gradient` prepares the memory, which serves for any states. */
typedef struct {
    rbm_maps maps;
    rbm_side sides[2];
    size_t words, ld_values, ld_hidden;
    float *gradient;
    size_t ld;
    int add;
    void *memory;
} rbm_correlate_args;

/* out (rows x ld_out) = the sums over `positions` of maps, which lie side by side: of bits (rows x
 * words), or where these are null, of values (rows x ld). */
typedef struct {
    const uint64_t *bits;
    const float *values;
    size_t rows, words, ld;
    size_t positions, maps;
    float *out;
    size_t ld_out;
} rbm_map_sums_args;

/* What a layer of maps learns: the bias of each map, which all its units have as `natural`. */
typedef struct {
    float *bias, *bias_velocity, *natural;
} rbm_map_layer;

/* A whole step of a convolutional link and its layers, given the statistics of both phases:
 * gradient (taps x ld), the mean of positive minus that of negative correlations, divided by the
 * positions of a filter, and the sums of maps (rows x ld_channels, rows x ld). Gradients of biases
 * are divided by the positions too. Visible states are counted from offsets, which all units of a
 * channel share, unless `offset` (visible units) is null; penalty (hidden units): the products of
 * the rule's penalties with them. Where `activity` (hidden units) is not null, it follows the means
 * of the data, and biases are pulled by cost (target - activity). Workspace: vectors, 3 ld + 2
 * ld_channels. */
typedef struct {
    rbm_maps maps;
    float *weights, *velocity;
    const float *gradient;
    size_t ld, ld_channels;
    const float *visible_sums[2], *hidden_sums[2];
    size_t rows[2];
    rbm_learning how;
    float *offset, *penalty;
    rbm_map_layer visible, hidden;
    float *activity;
    float follow_activity, target, cost;
    float *vectors;
} rbm_learn_maps_args;

/* Means and draws of probabilistic max pooling (units/pooled.h), as of units above: one draw a
 * block, with the word of the pooled unit's number. */
typedef struct {
    const float *total;
    size_t rows;
    rbm_pool maps;
    size_t ld;
    float *mean;
    uint64_t *bits;
    size_t words;
    rbm_draw draw;
} rbm_pooled_args;

/* As rbm_cumulant_args: log(1 + the sum of exponentials) of each block. */
typedef struct {
    const float *total;
    size_t rows;
    rbm_pool maps;
    size_t ld;
    const float *scale;
    double weight;
    double *out;
} rbm_pooled_cumulant_args;

/* out (rows x ld_out) = the sum of each block's means. */
typedef struct {
    const float *means;
    size_t rows;
    rbm_pool maps;
    size_t ld;
    float *out;
    size_t ld_out;
} rbm_pooled_means_args;

/* A unit kind, or a family of them told apart by n. csrc/units/ has a file for each, with its
 * entry. */
typedef struct {
    const char *name;
    size_t most; /* n is 1 to this; of a kind that is no family 0, and n is 1 */
    int groups;  /* whether n units make a group, of which a layer has whole ones */
    int bits;    /* whether states are bits, else floats */

    rbm_kernel *units;           /* of rbm_units_args */
    rbm_kernel *cumulant;        /* of rbm_cumulant_args */
    rbm_kernel *cumulant_change; /* of rbm_cumulant_change_args, or null: by two cumulants then */
} rbm_kind;

typedef struct {
    const char *name;
    int lanes; /* floats in one vector */

    /* out (rows x units, unpadded) = the random words that `draw` names. */
    void (*random_words)(const rbm_draw *draw, size_t rows, size_t units, uint32_t *out);

    /* The kernels, by what they take. */
    rbm_kernel *binarize_u8, *binarize_f32, *take_u8, *take_f32;
    rbm_kernel *list_on, *exponentials;
    rbm_kernel *multiply;
    rbm_kernel *bit_inputs;
    rbm_kernel *accumulate, *apply, *update, *learn;
    rbm_kernel *dot_rows, *dot_columns, *dot_bits, *column_sums, *sum_tabulated;
    rbm_kernel *temper;
    const rbm_kind *kinds; /* the same ones in the same order in each table */
    size_t kind_count;
    /* Of the hidden units, and of the visible ones (convolution.h). */
    rbm_kernel *arrange_up, *convolve, *arrange_down, *deconvolve;
    rbm_kernel *arrange_gradient, *correlate, *sum_gradient, *map_sums, *learn_maps;
    rbm_kernel *pooled, *pooled_cumulant, *pooled_means;

    /* Bytes of memory that a kernel of the same name takes with so many threads. */
    size_t (*convolve_memory)(const rbm_inputs_args *args, int threads);
    size_t (*deconvolve_memory)(const rbm_inputs_args *args, int threads);
    size_t (*correlate_memory)(const rbm_correlate_args *args, int threads);
} rbm_kernels;

/* Null on machines of another architecture. */
extern const rbm_kernels *const rbm_baseline, *const rbm_avx2, *const rbm_avx512;

/* The table for this CPU, or the one called `name` (null or empty: the best). Null if there is no
 * such table or the CPU lacks the instructions. */
const rbm_kernels *rbm_select(const char *name);

/* The number of a kind in the tables, or -1 where there is none of that name. */
int rbm_find_kind(const char *name);

/* The date of the OpenMP specification compiled in, such as 201511; 0 without OpenMP. */
int rbm_openmp(void);

/* Make the threads that kernels will use, `count` with the caller's (at least 2), each with `stack`
 * bytes of stack (0: the default), where they can be made: then return `count`, else how many there
 * could be. OpenMP by itself ends the process where it cannot make them. */
int rbm_make_threads(int count, size_t stack);

/* A plan: kernels, one after the other (plan.c). All threads meet after each of them, but that
 * neighbours that go by rows (team.h), through as many `rows`, are run together, RBM_ROWS rows at a
 * time; of other kernels, `rows` is 0. */
typedef struct {
    rbm_kernel *kernel;
    const void *args;
    size_t rows;
} rbm_operation;

typedef struct {
    const rbm_operation *operations;
    size_t count;
} rbm_plan_args;

rbm_kernel rbm_walk;

/* The same, which adds the nanoseconds that each operation takes to what is there, with the wait
 * for all, and says which loops it has. */
typedef struct {
    rbm_plan_args plan;
    long long *nanoseconds;
    rbm_loops *loops;
} rbm_timed_plan_args;

rbm_kernel rbm_walk_timed;

/* A plan of one training step, for `count` of them from number `step` on. `walk` walks the plan,
 * timed or not. Before each step the plan's draws (some of `operations` are null) get its number,
 * `how` it learns whether to refresh, and `own`, from which it reads what images it is of, the next
 * `batch` of `rows`. A step after which something is not finite is the last; *done
 * becomes how many were taken. */
typedef struct {
    rbm_operation walk;
    rbm_draw *const *draws;
    size_t operations;
    rbm_learning *how;
    uint32_t step;
    size_t count, batch;
    const int64_t *rows;
    int64_t *own;
    const uint8_t *refresh;
    size_t *done;
} rbm_steps_args;

rbm_kernel rbm_take_steps;

/* A plan of one temperature, for those from number `first` of `betas` on, which is 1 or more.
 * Before each, its draws (count of the plan, some null) get the temperature's number as their step,
 * beta (2) becomes the last temperature's and its own, and *change the difference. */
typedef struct {
    rbm_plan_args plan;
    rbm_draw *const *draws;
    const double *betas;
    size_t first, count;
    float *beta;
    double *change;
} rbm_anneal_args;

rbm_kernel rbm_anneal;

/* Integer kernels that no vector unit makes faster (states.c). ----------------------------------
 */

/* out[u] = the sum of weight[r] over the rows r that list unit u, in the order of the rows. */
void rbm_weigh_listed(const uint32_t *start, const uint32_t *index, size_t rows,
                      const float *weight, size_t units, float *out);

/* What kernels rely on. On-lists lie within `length` entries, each ascends, and they name units of
 * a layer of `units`; rows are among `count`; bits beyond the last unit are zero. */
int rbm_lists_fit(const uint32_t *start, const uint32_t *index, size_t rows, size_t length,
                  size_t units);
int rbm_rows_fit(const int64_t *index, size_t rows, size_t count);
int rbm_bits_fit(const uint64_t *bits, size_t rows, size_t words, size_t units);

/* Number of on-bits in rows x words. */
size_t rbm_count_on(const uint64_t *bits, size_t rows, size_t words);

/* count[u] = rows in which unit u is on. */
void rbm_count_by_unit(const uint64_t *bits, size_t rows, size_t words, size_t units,
                       uint32_t *count);

/* floats (rows x ld) = the bits (rows x words) as 0 and 1, zero beyond `units`; or bits = where the
 * floats are above one half. */
typedef struct {
    uint64_t *bits;
    size_t rows, words, units;
    float *floats;
    size_t ld;
} rbm_bits_and_floats_args;
rbm_kernel rbm_bits_to_floats, rbm_floats_to_bits;

/* out (rows x out_words) = whether a unit of each block is on. */
typedef struct {
    const uint64_t *bits;
    size_t rows, words;
    rbm_pool maps;
    uint64_t *out;
    size_t out_words;
} rbm_pooled_bits_args;
rbm_kernel rbm_pooled_bits;

#endif

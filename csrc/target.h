/* The kernel bodies for one instruction set. A target file sets LANES, TARGET_NAME and TABLE, turns
 * the instructions on, and includes this. */
#include "vec.h"
#include "random.h"
#include "maths.h"
#include "units.h"
#include "tempering.h"
#include "turn.h"
#include "columns.h"
#include "subsets.h"
#include "link.h"
#include "product.h"
#include "take.h"
#include "update.h"
#include "learn.h"
#include "convolution_runs.h"
#include "convolution_dense.h"
#include "convolution.h"
#include "learn_maps.h"

static const rbm_kernels table = {
    .name = TARGET_NAME,
    .lanes = LANES,
    .random_words = random_words,
    .binarize_u8 = binarize_u8,
    .binarize_f32 = binarize_f32,
    .take_u8 = take_u8,
    .take_f32 = take_f32,
    .list_on = list_on,
    .exponentials = exponentials,
    .multiply = multiply,
    .kinds = kinds,
    .kind_count = sizeof kinds / sizeof *kinds,
    .temper = temper,
    .sum_tabulated = sum_tabulated,
    .dot_rows = dot_rows,
    .dot_columns = dot_columns,
    .dot_bits = dot_bits,
    .column_sums = column_sums,
    .accumulate = accumulate,
    .apply = apply,
    .update = update,
    .learn = learn,
    .bit_inputs = bit_inputs,
    .arrange_up = arrange_up,
    .convolve = convolve,
    .arrange_down = arrange_down,
    .deconvolve = deconvolve,
    .arrange_gradient = arrange_gradient,
    .correlate = correlate,
    .sum_gradient = sum_gradient,
    .map_sums = map_sums,
    .learn_maps = learn_maps,
    .pooled = pooled,
    .pooled_cumulant = pooled_cumulant,
    .pooled_means = pooled_means,
    .convolve_memory = convolve_memory,
    .deconvolve_memory = deconvolve_memory,
    .correlate_memory = correlate_memory,
};

const rbm_kernels *const TABLE = &table;

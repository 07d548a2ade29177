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
#include "convolution.h"
#include "convolution_dense.h"

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
    .convolve_listed = convolve_listed,
    .convolve = convolve,
    .deconvolve_listed = deconvolve_listed,
    .deconvolve = deconvolve,
    .correlate_listed = correlate_listed,
    .correlate = correlate,
    .pooled = pooled,
    .pooled_cumulant = pooled_cumulant,
    .pooled_means = pooled_means,
    .convolve_listed_memory = convolve_listed_memory,
    .deconvolve_listed_memory = deconvolve_listed_memory,
    .deconvolve_memory = deconvolve_memory,
    .correlate_listed_memory = correlate_listed_memory,
    .correlate_memory = correlate_memory,
};

const rbm_kernels *const TABLE = &table;

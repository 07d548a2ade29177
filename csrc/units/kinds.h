/* The unit kinds. Each file is read twice: with KIND defined it has the entries of the table, else
 * the kernels that they name. One that makes use of another's kernels comes after it. */
#include "bernoulli.h"
#include "binomial.h"
#include "gaussian.h"
#include "nrelu.h"
#include "softmax.h"

/* The team whose meetings wait, but do not say that what was written before is to be seen after. */
#include <stdatomic.h>
#define memory_order_acquire memory_order_relaxed
#define memory_order_release memory_order_relaxed
#define memory_order_acq_rel memory_order_relaxed
#include "team.c"

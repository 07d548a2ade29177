/* The kernels of the lowest instruction set without the meetings that they need. */
#include "team.h"
#define rbm_meet(me) ((void)(me))
#include "target_baseline.c"

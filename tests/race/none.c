/* Kernels are shared out alike on every instruction set: those of the lowest are enough here. */
#include "rbm_kernels.h"

const rbm_kernels *const rbm_avx2 = 0, *const rbm_avx512 = 0;

/* x86-64 with AVX2 and FMA: 8 lanes. */
#include "rbm_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi,bmi2,popcnt"))),                  \
                             apply_to = function)
#else
#pragma GCC target("avx2,fma,bmi,bmi2,popcnt")
#endif
#define TARGET_NAME "avx2"
#define LANES 8
#define TABLE rbm_avx2
#include "target.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
const rbm_kernels *const rbm_avx2 = 0;
#endif

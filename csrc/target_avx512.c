/* x86-64 with AVX-512 (F, BW, DQ, VL): 16 lanes. */
#include "rbm_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,bmi,bmi2,popcnt"))),             \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma,bmi,bmi2,popcnt")
#endif
#define TARGET_NAME "avx512"
#define LANES 16
#define TABLE rbm_avx512
#include "target.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
const rbm_kernels *const rbm_avx512 = 0;
#endif

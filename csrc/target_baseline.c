/* What every CPU of the architecture has: SSE2 on x86-64, NEON on arm64. */
#include "rbm_kernels.h"

#if defined(__SSE2__)
#include <immintrin.h>
#define TARGET_NAME "baseline"
#elif defined(__aarch64__)
#include <arm_neon.h>
#define TARGET_NAME "neon"
#else
#define TARGET_NAME "baseline"
#endif
#define LANES 4
#define TABLE rbm_baseline
#include "target.h"

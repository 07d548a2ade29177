/* Which table of kernels this CPU runs. */
#include "rbm_kernels.h"

#include <string.h>

#if defined(__x86_64__)
static int has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#else
static int has_avx2(void) {
    return 0;
}

static int has_avx512(void) {
    return 0;
}
#endif

int rbm_find_kind(const char *name) {
    for (size_t i = 0; i < rbm_baseline->kind_count; i++)
        if (!strcmp(name, rbm_baseline->kinds[i].name))
            return (int)i;
    return -1;
}

const rbm_kernels *rbm_select(const char *name) {
    /* Best first. */
    const rbm_kernels *tables[] = {has_avx512() ? rbm_avx512 : 0, has_avx2() ? rbm_avx2 : 0,
                                   rbm_baseline};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        if (!tables[i])
            continue;
        /* "baseline" names the lowest table of any architecture. */
        if (!name || !*name || !strcmp(name, tables[i]->name) ||
            (!strcmp(name, "baseline") && tables[i] == rbm_baseline))
            return tables[i];
    }
    return 0;
}

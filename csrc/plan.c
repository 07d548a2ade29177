/* Plans: kernels that run one after the other, in one parallel region. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include "rbm_kernels.h"

#include <string.h>
#include <time.h>

void rbm_walk(const void *args, rbm_worker *me) {
    const rbm_plan_args *plan = args;
    for (size_t i = 0; i < plan->count; i++) {
        plan->operations[i].kernel(plan->operations[i].args, me);
        rbm_meet(me);
    }
}

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

void rbm_walk_timed(const void *args, rbm_worker *me) {
    const rbm_timed_plan_args *timed = args;
    const int first = me->thread == 0;
    long long before = now();
    for (size_t i = 0; i < timed->plan.count; i++) {
        if (first)
            me->seen = &timed->loops[i], me->seen->count = 0;
        timed->plan.operations[i].kernel(timed->plan.operations[i].args, me);
        rbm_meet(me);
        if (first) {
            long long after = now();
            timed->nanoseconds[i] += after - before;
            before = after;
        }
    }
}

static void set_draws(rbm_draw *const *draws, size_t count, uint32_t step) {
    for (size_t i = 0; i < count; i++)
        if (draws[i])
            draws[i]->step = step;
}

void rbm_take_steps(const void *args, rbm_worker *me) {
    const rbm_steps_args *a = args;
    for (size_t i = 0; i < a->count; i++) {
        if (me->thread == 0) {
            set_draws(a->draws, a->operations, a->step + (uint32_t)i);
            memcpy(a->own, a->rows + i * a->batch, a->batch * sizeof *a->own);
            a->learn->refresh = a->refresh[i];
            *a->done = i + 1;
        }
        rbm_meet(me);
        a->walk.kernel(a->walk.args, me);
        /* Nobody writes it before all have met again. */
        if (!__atomic_load_n(a->learn->finite, __ATOMIC_RELAXED))
            return;
    }
}

void rbm_anneal(const void *args, rbm_worker *me) {
    const rbm_anneal_args *a = args;
    for (size_t step = a->first; step < a->first + a->count; step++) {
        if (me->thread == 0) {
            a->beta[0] = (float)a->betas[step - 1];
            a->beta[1] = (float)a->betas[step];
            *a->change = a->betas[step] - a->betas[step - 1];
            set_draws(a->draws, a->plan.count, (uint32_t)step);
        }
        rbm_meet(me);
        rbm_walk(&a->plan, me);
    }
}

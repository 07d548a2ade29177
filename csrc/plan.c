/* Plans: kernels that run one after the other, in one parallel region. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include "rbm_kernels.h"

#include <string.h>
#include <time.h>

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* One operation, and where `nanoseconds` are counted, those that it takes. */
static inline void run_operation(const rbm_plan_args *plan, size_t i, long long *nanoseconds,
                                 rbm_worker *me) {
    long long before = nanoseconds ? now() : 0;
    plan->operations[i].kernel(plan->operations[i].args, me);
    if (nanoseconds)
        nanoseconds[i] += now() - before;
}

/* The neighbours from operation i on that go through as many rows, up to the one before `end`. */
static inline size_t end_of_chain(const rbm_plan_args *plan, size_t i) {
    size_t rows = plan->operations[i].rows, end = i + 1;
    while (rows && end < plan->count && plan->operations[end].rows == rows)
        end++;
    return end;
}

/* What several operations make of a few rows, they make one after the other, while these are in the
 * cache; threads meet after the last one only. */
static inline void run_chain(const rbm_plan_args *plan, size_t first, size_t end,
                             long long *nanoseconds, rbm_worker *me) {
    rbm_begin(me, plan->operations[first].rows, RBM_ROWS);
    for (rbm_span span; rbm_next(me, &span);)
        for (size_t r = span.first; r < span.end; r += RBM_ROWS) {
            me->rows = (rbm_span){r, r + RBM_ROWS < span.end ? r + RBM_ROWS : span.end};
            for (size_t i = first; i < end; i++)
                run_operation(plan, i, nanoseconds, me);
        }
    me->rows = (rbm_span){0, 0};
}

static inline void walk(const rbm_plan_args *plan, long long *nanoseconds, rbm_loops *loops,
                        rbm_worker *me) {
    for (size_t i = 0, end; i < plan->count; i = end) {
        end = end_of_chain(plan, i);
        if (loops)
            me->seen = &loops[i], me->seen->count = 0;
        if (end == i + 1)
            run_operation(plan, i, nanoseconds, me);
        else
            run_chain(plan, i, end, nanoseconds, me);
        long long before = nanoseconds ? now() : 0;
        rbm_meet(me);
        if (nanoseconds)
            nanoseconds[end - 1] += now() - before;
        for (size_t other = i + 1; loops && other < end; other++)
            loops[other] = loops[i];
        me->seen = NULL;
    }
}

void rbm_walk(const void *args, rbm_worker *me) {
    walk(args, NULL, NULL, me);
}

void rbm_walk_timed(const void *args, rbm_worker *me) {
    const rbm_timed_plan_args *timed = args;
    const int first = me->thread == 0;
    walk(&timed->plan, first ? timed->nanoseconds : NULL, first ? timed->loops : NULL, me);
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
            a->how->refresh = a->refresh[i];
            *a->done = i + 1;
        }
        rbm_meet(me);
        a->walk.kernel(a->walk.args, me);
        /* Nobody writes it before all have met again. */
        if (!__atomic_load_n(a->how->finite, __ATOMIC_RELAXED))
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

/* Plans: kernels that run one after the other, in one parallel region. */
#include "rbm_kernels.h"

void rbm_walk(const void *args, rbm_worker *me) {
    const rbm_plan_args *plan = args;
    for (size_t i = 0; i < plan->count; i++) {
        plan->operations[i].kernel(plan->operations[i].args, me);
        rbm_meet(me);
    }
}

void rbm_anneal(const void *args, rbm_worker *me) {
    const rbm_anneal_args *a = args;
    for (size_t step = a->first; step < a->first + a->count; step++) {
        if (me->thread == 0) {
            a->beta[0] = (float)a->betas[step - 1];
            a->beta[1] = (float)a->betas[step];
            *a->change = a->betas[step] - a->betas[step - 1];
            for (size_t i = 0; i < a->plan.count; i++)
                if (a->draws[i])
                    a->draws[i]->step = (uint32_t)step;
        }
        rbm_meet(me);
        rbm_walk(&a->plan, me);
    }
}

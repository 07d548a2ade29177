/* Threads that run a kernel together.
 *
 * All threads of a team call the kernel with the same arguments. What has to be done once they
 * share out (EACH); where one part builds on what another has written, they meet between the two.
 * So a kernel is a plain function, and a list of kernels can be walked without leaving it. Results
 * never depend on who does what: items write separate outputs.
 *
 * Items are taken in order, from a range of the thread's own first, which is near in memory and the
 * same in every call; a thread that is done helps others. */
#ifndef RBM_TEAM_H
#define RBM_TEAM_H

#include <stddef.h>

typedef struct rbm_team rbm_team;

/* The loops that a kernel has begun: how many, and the items of the first ones. */
#define RBM_MOST_LOOPS 16
typedef struct {
    size_t count, items[RBM_MOST_LOOPS];
} rbm_loops;

/* Items from `first` to before `end`. */
typedef struct {
    size_t first, end;
} rbm_span;

/* A thread of a team: number `thread` of `threads`. Where `rows` is not empty, a walk is at these
 * rows (plan.c). The rest is for team.c. */
typedef struct {
    int thread, threads;
    rbm_span rows;
    rbm_team *team;
    unsigned phase, loops;
    struct {
        size_t count, chunk, chunks;
        int helped, slot;
    } loop;
    int begun;       /* whether the rows that a walk is at are to be gone through */
    rbm_loops *seen; /* where loops are noted, if at all */
} rbm_worker;

/* A kernel: `args` is the structure that rbm_kernels.h has for it. */
typedef void rbm_kernel(const void *args, rbm_worker *me);

/* Run a kernel with up to `threads` threads. */
void rbm_run(rbm_kernel *kernel, const void *args, int threads);

/* Wait until all have come here. */
void rbm_meet(rbm_worker *me);

/* Begin to share out `count` items, `chunk` at a time; the next ones of this thread, if any. All
 * threads of a team begin the same loops in the same order. */
void rbm_begin(rbm_worker *me, size_t count, size_t chunk);
int rbm_next(rbm_worker *me, rbm_span *span);

/* for (each item) of those that fall to this thread. */
#define EACH(me, chunk, count, item)                                                               \
    rbm_begin(me, count, chunk);                                                                   \
    for (rbm_span item##s; rbm_next(me, &item##s);)                                                \
        for (size_t item = item##s.first; item < item##s.end; item++)

/* for (each row) of those that fall to this thread, or of those that a walk is at. A kernel goes by
 * rows if all its loops are of this kind, its threads do not meet, and what it makes of a row
 * depends on the same row of what others have made. */
#define EACH_ROW(me, chunk, count, item)                                                           \
    rbm_begin_rows(me, count, chunk);                                                              \
    for (rbm_span item##s; rbm_next_rows(me, &item##s);)                                           \
        for (size_t item = item##s.first; item < item##s.end; item++)

void rbm_begin_rows(rbm_worker *me, size_t count, size_t chunk);
int rbm_next_rows(rbm_worker *me, rbm_span *span);

#endif

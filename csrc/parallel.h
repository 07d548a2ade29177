/* Loops shared out to threads. Iterations write separate outputs, so who runs which is free.
 *
 * Waking threads and waiting for them costs some microseconds, and much more where other programs
 * want the CPUs too. A loop therefore says about how much work it is, in vector operations, and
 * stays on one thread where that is little. */
#ifndef RBM_PARALLEL_H
#define RBM_PARALLEL_H

#ifndef WORTH_SHARING /* `make sanitize` shares out every loop */
#define WORTH_SHARING 20000
#endif

#define PRAGMA(text) _Pragma(#text)

/* THREAD, within such a loop: which of the threads this is, for memory that each has of its own. */
#ifdef _OPENMP
#include <omp.h>
#define THREAD omp_get_thread_num()
#define PARALLEL_FOR(threads, chunk, work)                                                         \
    PRAGMA(omp parallel for num_threads(threads) schedule(dynamic, chunk)                          \
               if (threads > 1 && (work) >= WORTH_SHARING))
/* The same, with `flag` and-ed over the iterations. */
#define PARALLEL_FOR_AND(threads, chunk, work, flag)                                               \
    PRAGMA(omp parallel for num_threads(threads) schedule(dynamic, chunk) reduction(& : flag)      \
               if (threads > 1 && (work) >= WORTH_SHARING))
#else
#define THREAD 0
#define PARALLEL_FOR(threads, chunk, work) (void)(threads);
#define PARALLEL_FOR_AND(threads, chunk, work, flag) (void)(threads);
#endif

#endif

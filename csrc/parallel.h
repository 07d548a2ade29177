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

#ifdef _OPENMP
#define PARALLEL_FOR(threads, chunk, work)                                                         \
    PRAGMA(omp parallel for num_threads(threads) schedule(dynamic, chunk)                          \
               if (threads > 1 && (work) >= WORTH_SHARING))
/* The same, with `flag` and-ed over the iterations. */
#define PARALLEL_FOR_AND(threads, chunk, work, flag)                                               \
    PRAGMA(omp parallel for num_threads(threads) schedule(dynamic, chunk) reduction(& : flag)      \
               if (threads > 1 && (work) >= WORTH_SHARING))
#else
#define PARALLEL_FOR(threads, chunk, work) (void)(threads);
#define PARALLEL_FOR_AND(threads, chunk, work, flag) (void)(threads);
#endif

#endif

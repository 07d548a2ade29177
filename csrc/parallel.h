/* Loops shared out to threads. Iterations write separate outputs, so who runs which is free. */
#ifndef RBM_PARALLEL_H
#define RBM_PARALLEL_H

#define PRAGMA(text) _Pragma(#text)

#ifdef _OPENMP
#define PARALLEL_FOR(threads, chunk)                                                               \
    PRAGMA(omp parallel for num_threads(threads) schedule(dynamic, chunk) if (threads > 1))
/* The same, with `flag` and-ed over the iterations. */
#define PARALLEL_FOR_AND(threads, flag)                                                            \
    PRAGMA(omp parallel for num_threads(threads) schedule(dynamic, 4) reduction(& : flag)          \
               if (threads > 1))
#else
#define PARALLEL_FOR(threads, chunk) (void)(threads);
#define PARALLEL_FOR_AND(threads, flag) (void)(threads);
#endif

#endif

/* Threads made before the work, when it can still be said that they cannot be. */
#include "rbm_kernels.h"

#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>

static void *pass(void *gate) {
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return 0;
}

/* How many threads beside this one there can be at once, up to `count`. */
static int can_start(int count, size_t stack) {
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *started = malloc((size_t)count * sizeof *started);
    pthread_attr_t attributes;
    if (!started || pthread_attr_init(&attributes)) {
        free(started);
        return 0;
    }
    if (stack) /* what cannot be a stack's size is not taken, as OpenMP does not take it */
        pthread_attr_setstacksize(&attributes, stack);
    int running = 0;
    pthread_mutex_lock(&gate);
    while (running < count && !pthread_create(&started[running], &attributes, pass, &gate))
        running++;
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < running; i++)
        pthread_join(started[i], 0);
    pthread_attr_destroy(&attributes);
    free(started);
    return running;
}

int rbm_make_threads(int count, size_t stack) {
    int possible = 1 + can_start(count - 1, stack);
    if (possible < count)
        return possible;
    /* OpenMP makes its own at once, while there is room for them, and keeps them. */
    int here = 0;
#pragma omp parallel num_threads(count) reduction(+ : here)
    here += 1;
    return here > 0 ? count : 1;
}
#else
int rbm_make_threads(int count, size_t stack) {
    (void)stack; /* kernels use the thread that calls them */
    return count;
}
#endif

/* A stand-in for libomp: what clang makes of the parallel regions of csrc/team.c is run by threads
 * that ThreadSanitizer sees begin and end. Those of libomp meet in ways that it does not see. */
#include "omp.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>

enum { MOST = 8 }; /* threads, and variables that a region shares */

typedef void microtask(int *, int *, void *, void *, void *, void *, void *, void *, void *,
                       void *);

typedef struct {
    microtask *task;
    void **shared;
    int thread, threads;
    pthread_barrier_t *start;
} job;

static _Thread_local int wanted = 1, thread, threads = 1;

int omp_get_thread_num(void) {
    return thread;
}

int omp_get_num_threads(void) {
    return threads;
}

static void *work(void *of) {
    job *mine = of;
    void **at = mine->shared;
    int number = thread = mine->thread;
    threads = mine->threads;
    pthread_barrier_wait(mine->start); /* else the first would have done all before others begin */
    /* Whoever takes fewer does not look at the others. */
    mine->task(&number, &number, at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7]);
    thread = 0, threads = 1;
    return 0;
}

int __kmpc_global_thread_num(void *place) {
    (void)place;
    return thread;
}

void __kmpc_push_num_threads(void *place, int number, int count) {
    (void)place, (void)number;
    wanted = count;
}

void __kmpc_fork_call(void *place, int count, microtask *task, ...) {
    (void)place;
    void *shared[MOST] = {0};
    pthread_t started[MOST];
    job jobs[MOST];
    pthread_barrier_t start;
    if (count > MOST || wanted > MOST)
        abort();
    pthread_barrier_init(&start, 0, (unsigned)wanted);
    va_list rest;
    va_start(rest, task);
    for (int i = 0; i < count; i++)
        shared[i] = va_arg(rest, void *);
    va_end(rest);
    for (int i = 0; i < wanted; i++)
        jobs[i] = (job){task, shared, i, wanted, &start};
    for (int i = 1; i < wanted; i++)
        if (pthread_create(&started[i], 0, work, &jobs[i]))
            abort();
    work(&jobs[0]);
    for (int i = 1; i < wanted; i++)
        pthread_join(started[i], 0);
    pthread_barrier_destroy(&start);
}

/* 2: the threads are to add their parts by atomic operations. */
int __kmpc_reduce_nowait(void *place, int number, int count, size_t size, void *data,
                         void (*add)(void *, void *), void *lock) {
    (void)place, (void)number, (void)count, (void)size, (void)data, (void)add, (void)lock;
    return 2;
}

void __kmpc_end_reduce_nowait(void *place, int number, void *lock) {
    (void)place, (void)number, (void)lock;
}

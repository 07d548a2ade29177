/* The team: the only room that knows OpenMP. */
#include "team.h"
#include "rbm_kernels.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>
#endif

/* Loops between two meetings; before more are begun, threads meet. */
#define LOOPS 4
/* Looks at a meeting before the processor is left to others. */
#define SPINS 4000

enum { LINE = 64 };

typedef struct {
    _Alignas(LINE) atomic_size_t taken; /* chunks of the thread's own range */
} counter;

/* counters: [two phases][LOOPS][threads]. While those of one phase are in use, everybody clears his
 * own of the other, which nobody uses until they meet. */
struct rbm_team {
    _Alignas(LINE) atomic_uint arrived;
    _Alignas(LINE) atomic_uint phase;
    counter *counters;
};

static inline counter *counters_of(const rbm_worker *me, unsigned phase, unsigned loop) {
    return me->team->counters + ((size_t)(phase % 2) * LOOPS + loop) * (size_t)me->threads;
}

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void rbm_meet(rbm_worker *me) {
    unsigned threads = (unsigned)me->threads;
    if (threads == 1)
        return;
    rbm_team *team = me->team;
    for (unsigned loop = 0; loop < LOOPS; loop++)
        atomic_store_explicit(&counters_of(me, me->phase + 1, loop)[me->thread].taken, 0,
                              memory_order_relaxed);
    unsigned phase = me->phase;
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) + 1 == threads) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&team->phase, phase + 1, memory_order_release);
    } else {
        for (unsigned spins = 0; atomic_load_explicit(&team->phase, memory_order_acquire) == phase;
             spins++) {
            if (spins < SPINS)
                relax();
            else
                sched_yield();
        }
    }
    me->phase = phase + 1;
    me->loops = 0;
}

void rbm_begin(rbm_worker *me, size_t count, size_t chunk) {
    if (me->seen && me->seen->count++ < RBM_MOST_LOOPS)
        me->seen->items[me->seen->count - 1] = count;
    if (me->threads == 1) {
        me->loop.count = count;
        return;
    }
    if (me->loops == LOOPS)
        rbm_meet(me);
    me->loop.count = count;
    me->loop.chunk = chunk;
    me->loop.chunks = (count + chunk - 1) / chunk;
    me->loop.helped = 0;
    me->loop.slot = (int)me->loops++;
}

int rbm_next(rbm_worker *me, rbm_span *span) {
    if (me->threads == 1) {
        *span = (rbm_span){0, me->loop.count};
        me->loop.count = 0;
        return span->end > 0;
    }
    size_t threads = (size_t)me->threads, chunks = me->loop.chunks;
    counter *counters = counters_of(me, me->phase, (unsigned)me->loop.slot);
    for (; me->loop.helped < me->threads; me->loop.helped++) {
        size_t whose = ((size_t)me->thread + (size_t)me->loop.helped) % threads;
        size_t first = chunks * whose / threads, size = chunks * (whose + 1) / threads - first;
        size_t taken = atomic_fetch_add_explicit(&counters[whose].taken, 1, memory_order_relaxed);
        if (taken < size) {
            size_t from = (first + taken) * me->loop.chunk, to = from + me->loop.chunk;
            *span = (rbm_span){from, to < me->loop.count ? to : me->loop.count};
            return 1;
        }
    }
    return 0;
}

void rbm_begin_rows(rbm_worker *me, size_t count, size_t chunk) {
    if (me->rows.end)
        me->begun = 1;
    else
        rbm_begin(me, count, chunk);
}

int rbm_next_rows(rbm_worker *me, rbm_span *span) {
    if (!me->rows.end)
        return rbm_next(me, span);
    int begun = me->begun;
    *span = me->rows;
    me->begun = 0;
    return begun;
}

static void run_alone(rbm_kernel *kernel, const void *args) {
    rbm_worker me = {.thread = 0, .threads = 1};
    kernel(args, &me);
}

void rbm_run(rbm_kernel *kernel, const void *args, int threads) {
#ifdef _OPENMP
    if (threads > 1) {
        size_t bytes = 2 * LOOPS * (size_t)threads * sizeof(counter);
        rbm_team team = {.counters = aligned_alloc(LINE, bytes)};
        if (team.counters) {
            for (size_t i = 0; i < 2 * LOOPS * (size_t)threads; i++)
                atomic_init(&team.counters[i].taken, 0);
#pragma omp parallel num_threads(threads)
            {
                rbm_worker me = {.thread = omp_get_thread_num(),
                                 .threads = omp_get_num_threads(),
                                 .team = &team};
                kernel(args, &me);
            }
            free(team.counters);
            return;
        }
    }
#else
    (void)threads;
#endif
    run_alone(kernel, args);
}

int rbm_openmp(void) {
#ifdef _OPENMP
    return _OPENMP;
#else
    return 0;
#endif
}

#ifdef _OPENMP
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

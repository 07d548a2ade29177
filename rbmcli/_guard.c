/* A guard while a library reads what may have been made to break it: where that crashes or never
 * comes back, the process ends with a line that says so. Python cannot do it: its handlers wait
 * until the library returns. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

enum { LONGEST = 4096, STACK = 1 << 16 };

/* What ends a reading, and what is said of it. */
static const struct {
    int number;
    const char *reason;
} endings[] = {
    {SIGPROF, "reading it does not come to an end"}, {SIGSEGV, "reading it ends in SIGSEGV"},
    {SIGBUS, "reading it ends in SIGBUS"},           {SIGFPE, "reading it ends in SIGFPE"},
    {SIGILL, "reading it ends in SIGILL"},           {SIGABRT, "reading it ends in SIGABRT"},
};
enum { ENDINGS = sizeof endings / sizeof *endings };

/* There is one guard in a process. What it found is put back when it goes. */
static atomic_flag active = ATOMIC_FLAG_INIT;
static struct sigaction actions[ENDINGS];
static struct itimerval timer;
static struct rlimit memory;
static stack_t stack;
static int own_stack;
static char room[STACK];
static char before[LONGEST], after[LONGEST];

static void say(const char *text) {
    ssize_t written = write(2, text, strlen(text));
    (void)written;
}

static void end(int number) {
    say(before);
    for (int i = 0; i < ENDINGS; i++)
        if (endings[i].number == number)
            say(endings[i].reason);
    say(after);
    _exit(1);
}

/* Bytes that the process has of addresses; 0 where that is not known. */
static unsigned long long taken(void) {
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file) {
        if (fscanf(file, "%llu", &pages) != 1)
            pages = 0;
        fclose(file);
    }
    return pages * (unsigned long long)sysconf(_SC_PAGESIZE);
}

static void limit_memory(unsigned long long more) {
    getrlimit(RLIMIT_AS, &memory);
    struct rlimit limit = memory;
    unsigned long long now = taken();
    if (now && now + more < memory.rlim_cur) {
        limit.rlim_cur = now + more;
        setrlimit(RLIMIT_AS, &limit);
    }
}

static PyObject *begin(PyObject *self, PyObject *arguments) {
    (void)self;
    const char *start, *rest;
    double seconds;
    unsigned long long bytes;
    if (!PyArg_ParseTuple(arguments, "yydK", &start, &rest, &seconds, &bytes))
        return NULL;
    if (atomic_flag_test_and_set(&active))
        Py_RETURN_FALSE;
    snprintf(before, sizeof before, "%s", start);
    snprintf(after, sizeof after, "%s", rest);
    /* A stack of its own: the one in use may be what has run out. */
    own_stack = !sigaltstack(NULL, &stack) && stack.ss_flags & SS_DISABLE;
    if (own_stack) {
        stack_t own = {.ss_sp = room, .ss_size = sizeof room};
        sigaltstack(&own, NULL);
    }
    struct sigaction action = {.sa_handler = end, .sa_flags = SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < ENDINGS; i++)
        sigaction(endings[i].number, &action, &actions[i]);
    struct itimerval limit = {.it_value = {(time_t)seconds, (int)(seconds * 1e6) % 1000000}};
    setitimer(ITIMER_PROF, &limit, &timer);
    limit_memory(bytes);
    Py_RETURN_TRUE;
}

static PyObject *finish(PyObject *self, PyObject *none) {
    (void)self;
    (void)none;
    setrlimit(RLIMIT_AS, &memory);
    setitimer(ITIMER_PROF, &timer, NULL);
    for (int i = 0; i < ENDINGS; i++)
        sigaction(endings[i].number, &actions[i], NULL);
    if (own_stack)
        sigaltstack(&stack, NULL);
    atomic_flag_clear(&active);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"begin", begin, METH_VARARGS,
     "begin(before: bytes, after: bytes, seconds: float, memory: int) -> bool\n\n"
     "Set the guard; False where there is one already."},
    {"finish", finish, METH_NOARGS, "finish() -> None\n\nTake away the guard that was set."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_guard",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__guard(void) {
    return PyModuleDef_Init(&module);
}

/* Preloaded into a process, counts the calls by which it changes files below a folder, and at one
 * of them lets something go wrong: the call fails, writes less than it was given, or the process
 * is killed before it or within it. `preload.py` speaks of the same things by name.
 *
 * Nothing is counted until `fault_arm` is called, and nothing in processes forked from that one.
 * Each call has a kind, a letter:
 *
 *   O open for writing    W write    S fsync     R rename    T ftruncate
 *   C close               U unlink   L link      F flock     H chmod, chown
 *
 * `fault_watch` is apart from that: it notes in a log what is opened below another folder, however
 * it is opened, so that reading what should not be read is seen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* What happens at the chosen call; a positive number is the errno that it fails with. */
enum {
    NOTHING = 0,
    KILL = -1,    /* the process is killed before the call */
    HALF = -2,    /* half of a write is done, then the process is killed */
    SHORT = -3,   /* half of a write is done; later writes fail with `then` */
    PARTIAL = -4, /* half of a write is done, and nothing else happens */
};

static struct {
    char folder[PATH_MAX], log[PATH_MAX], kinds[32];
    long call;   /* at which something happens, counted from 1; 0 for none */
    int what;    /* happens there */
    int sticky;  /* whether it happens at all later calls of `kinds` too */
    int then;    /* errno of writes after a short one */
    long so_far; /* calls counted */
    pid_t armed; /* the process that counts; 0 for none */
} plan;

static struct {
    char folder[PATH_MAX], log[PATH_MAX];
    int armed;
} watch;

void fault_arm(const char *folder, const char *log, const char *kinds, long call, int what,
               int sticky, int then) {
    snprintf(plan.folder, sizeof plan.folder, "%s/", folder);
    snprintf(plan.log, sizeof plan.log, "%s", log);
    snprintf(plan.kinds, sizeof plan.kinds, "%s", kinds);
    plan.call = call;
    plan.what = what;
    plan.sticky = sticky;
    plan.then = then;
    plan.so_far = 0;
    plan.armed = getpid();
}

void fault_watch(const char *folder, const char *log) {
    snprintf(watch.folder, sizeof watch.folder, "%s/", folder);
    snprintf(watch.log, sizeof watch.log, "%s", log);
    watch.armed = 1;
}

/* The library's own output goes round the calls that it stands in for. */
static void append(const char *log, const char *line, size_t bytes) {
    int fd =
        (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (syscall(SYS_write, fd, line, bytes) < 0)
        syscall(SYS_kill, getpid(), SIGABRT);
    syscall(SYS_close, fd);
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

static int armed(void) {
    return plan.armed && plan.armed == getpid();
}

static int below(const char *folder, const char *path) {
    return strncmp(path, folder, strlen(folder)) == 0;
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (n < 0)
        return 0;
    path[n] = 0;
    return 1;
}

static int absolute(int at, const char *name, char *path) {
    char base[PATH_MAX];
    if (name[0] == '/')
        return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX;
    if (at == AT_FDCWD ? !getcwd(base, sizeof base) : !path_of(at, base))
        return 0;
    return snprintf(path, PATH_MAX, "%s/%s", base, name) < PATH_MAX;
}

/* Count a call on a path; what is to happen to it. */
static int count(char kind, const char *path) {
    if (!below(plan.folder, path))
        return NOTHING;
    long number = __atomic_add_fetch(&plan.so_far, 1, __ATOMIC_SEQ_CST);
    if (plan.log[0]) {
        char line[PATH_MAX + 8];
        int n = snprintf(line, sizeof line, "%c %s\n", kind, path + strlen(plan.folder));
        append(plan.log, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
    }
    if (!plan.call || number < plan.call)
        return NOTHING;
    if (number > plan.call) {
        if (plan.what == SHORT && kind == 'W')
            return plan.then;
        return plan.sticky && strchr(plan.kinds, kind) ? plan.what : NOTHING;
    }
    if (plan.what == KILL)
        die();
    return plan.what;
}

static int named(char kind, int at, const char *name) {
    char path[PATH_MAX];
    int kept = errno, what = armed() && absolute(at, name, path) ? count(kind, path) : NOTHING;
    errno = what > 0 ? what : kept;
    return what;
}

static int opened(char kind, int fd) {
    char path[PATH_MAX];
    int kept = errno, what = armed() && path_of(fd, path) ? count(kind, path) : NOTHING;
    errno = what > 0 ? what : kept;
    return what;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int watched(int fd) {
    char path[PATH_MAX + 1];
    int kept = errno;
    if (watch.armed && fd >= 0 && path_of(fd, path) && below(watch.folder, path)) {
        strcat(path, "\n");
        append(watch.log, path, strlen(path));
    }
    errno = kept;
    return fd;
}

static int to_write(int flags) {
    return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
}

#define OPEN_BODY(at, real_call)                                                                   \
    mode_t mode = 0;                                                                               \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                                         \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode = va_arg(rest, mode_t);                                                               \
        va_end(rest);                                                                              \
    }                                                                                              \
    if (to_write(flags) && named('O', at, path) > 0)                                               \
        return -1;                                                                                 \
    return watched(real_call)

int open(const char *path, int flags, ...) {
    OPEN_BODY(AT_FDCWD, REAL(open)(path, flags, mode));
}
int open64(const char *path, int flags, ...) {
    OPEN_BODY(AT_FDCWD, REAL(open64)(path, flags, mode));
}
int openat(int dir, const char *path, int flags, ...) {
    OPEN_BODY(dir, REAL(openat)(dir, path, flags, mode));
}
int openat64(int dir, const char *path, int flags, ...) {
    OPEN_BODY(dir, REAL(openat64)(dir, path, flags, mode));
}

/* A write of `bytes`, which `some` does in part and `all` as it was asked for. */
#define WRITE_BODY(bytes, some, all)                                                               \
    int what = opened('W', fd);                                                                    \
    size_t part = (bytes) > 1 ? (bytes) / 2 : (bytes);                                             \
    if (what > 0)                                                                                  \
        return -1;                                                                                 \
    if (what == HALF) {                                                                            \
        if (some < 0)                                                                              \
            return -1;                                                                             \
        die();                                                                                     \
    }                                                                                              \
    return what == SHORT || what == PARTIAL ? some : all

ssize_t write(int fd, const void *data, size_t bytes) {
    WRITE_BODY(bytes, REAL(write)(fd, data, part), REAL(write)(fd, data, bytes));
}
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t place) {
    WRITE_BODY(bytes, REAL(pwrite)(fd, data, part, place), REAL(pwrite)(fd, data, bytes, place));
}
ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t place) {
    WRITE_BODY(bytes, REAL(pwrite64)(fd, data, part, place),
               REAL(pwrite64)(fd, data, bytes, place));
}
ssize_t writev(int fd, const struct iovec *pieces, int n) {
    size_t first = n > 0 ? pieces[0].iov_len : 0;
    WRITE_BODY(first, REAL(write)(fd, pieces[0].iov_base, part), REAL(writev)(fd, pieces, n));
}
ssize_t sendfile(int fd, int in, off_t *place, size_t bytes) {
    WRITE_BODY(bytes, REAL(sendfile)(fd, in, place, part), REAL(sendfile)(fd, in, place, bytes));
}
ssize_t sendfile64(int fd, int in, off64_t *place, size_t bytes) {
    WRITE_BODY(bytes, REAL(sendfile64)(fd, in, place, part),
               REAL(sendfile64)(fd, in, place, bytes));
}

/* A call that fails as a whole or not at all. */
#define OR_FAIL(decision, real_call) return (decision) > 0 ? -1 : (real_call)

int fsync(int fd) {
    OR_FAIL(opened('S', fd), REAL(fsync)(fd));
}
int fdatasync(int fd) {
    OR_FAIL(opened('S', fd), REAL(fdatasync)(fd));
}
int ftruncate(int fd, off_t size) {
    OR_FAIL(opened('T', fd), REAL(ftruncate)(fd, size));
}
int ftruncate64(int fd, off64_t size) {
    OR_FAIL(opened('T', fd), REAL(ftruncate64)(fd, size));
}
int flock(int fd, int how) {
    OR_FAIL(opened('F', fd), REAL(flock)(fd, how));
}
int rename(const char *old, const char *new) {
    OR_FAIL(named('R', AT_FDCWD, new), REAL(rename)(old, new));
}
int renameat(int old_dir, const char *old, int new_dir, const char *new) {
    OR_FAIL(named('R', new_dir, new), REAL(renameat)(old_dir, old, new_dir, new));
}
int renameat2(int old_dir, const char *old, int new_dir, const char *new, unsigned flags) {
    OR_FAIL(named('R', new_dir, new), REAL(renameat2)(old_dir, old, new_dir, new, flags));
}
int link(const char *old, const char *new) {
    OR_FAIL(named('L', AT_FDCWD, new), REAL(link)(old, new));
}
int linkat(int old_dir, const char *old, int new_dir, const char *new, int flags) {
    OR_FAIL(named('L', new_dir, new), REAL(linkat)(old_dir, old, new_dir, new, flags));
}
int unlink(const char *path) {
    OR_FAIL(named('U', AT_FDCWD, path), REAL(unlink)(path));
}
int unlinkat(int dir, const char *path, int flags) {
    OR_FAIL(named('U', dir, path), REAL(unlinkat)(dir, path, flags));
}
int chmod(const char *path, mode_t mode) {
    OR_FAIL(named('H', AT_FDCWD, path), REAL(chmod)(path, mode));
}
int fchmod(int fd, mode_t mode) {
    OR_FAIL(opened('H', fd), REAL(fchmod)(fd, mode));
}
int fchmodat(int dir, const char *path, mode_t mode, int flags) {
    OR_FAIL(named('H', dir, path), REAL(fchmodat)(dir, path, mode, flags));
}
int chown(const char *path, uid_t owner, gid_t group) {
    OR_FAIL(named('H', AT_FDCWD, path), REAL(chown)(path, owner, group));
}
int fchown(int fd, uid_t owner, gid_t group) {
    OR_FAIL(opened('H', fd), REAL(fchown)(fd, owner, group));
}

/* A descriptor is gone after a failed close too, as on Linux. Only those that write are counted. */
int close(int fd) {
    int flags = armed() ? fcntl(fd, F_GETFL) : -1;
    int what = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY ? opened('C', fd) : NOTHING;
    int number = errno, result = REAL(close)(fd);
    if (what > 0) {
        errno = number;
        return -1;
    }
    return result;
}

/* Preloaded into a process, records every change it makes to files in one folder.
 *
 * RECORD_FOLDER is the folder (no sub-folders), RECORD_LOG the file the records are appended to.
 * A record: operation (1 byte), inode (8), offset or size (8), lengths of two byte strings (4
 * each), the strings. Integers are in native order. `Record` in replay.py reads them.
 *
 *   C name        created or truncated to nothing      W offset, bytes   written
 *   T size        size changed                         S                 file synced
 *   R old, new    renamed                              L old, new        linked
 *   U name        removed                              D                 folder synced
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *folder;
static int log_fd = -1;

__attribute__((constructor)) static void start(void) {
    folder = getenv("RECORD_FOLDER");
    const char *log = getenv("RECORD_LOG");
    if (folder && log)
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                              0600);
}

static void put(char operation, uint64_t inode, int64_t offset, const void *a, size_t a_bytes,
                const void *b, size_t b_bytes) {
    uint32_t lengths[2] = {(uint32_t)a_bytes, (uint32_t)b_bytes};
    struct iovec pieces[] = {{&operation, 1}, {&inode, 8},          {&offset, 8},
                             {lengths, 8},    {(void *)a, a_bytes}, {(void *)b, b_bytes}};
    if (syscall(SYS_writev, log_fd, pieces, 6) < 0)
        abort();
}

/* The name in the folder that `path` (relative to `dir`) stands for, or NULL. */
static const char *name_at(int dir, const char *path, char *buffer) {
    if (log_fd < 0)
        return NULL;
    char full[PATH_MAX];
    if (path[0] == '/') {
        snprintf(full, sizeof full, "%s", path);
    } else {
        char link[64];
        if (dir == AT_FDCWD)
            snprintf(link, sizeof link, "/proc/self/cwd");
        else
            snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        char base[PATH_MAX];
        ssize_t n = readlink(link, base, sizeof base - 1);
        if (n < 0)
            return NULL;
        base[n] = 0;
        if (snprintf(full, sizeof full, "%s/%s", base, path) >= (int)sizeof full)
            abort();
    }
    size_t n = strlen(folder);
    if (strncmp(full, folder, n) || full[n] != '/' || strchr(full + n + 1, '/'))
        return NULL;
    return strcpy(buffer, full + n + 1);
}

/* The inode of an open file in the folder (also of one removed since), or 0. */
static uint64_t inode_of(int fd) {
    if (log_fd < 0)
        return 0;
    char link[64], path[PATH_MAX], name[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return 0;
    path[n] = 0;
    struct stat status;
    if (!name_at(AT_FDCWD, path, name) || fstat(fd, &status))
        return 0;
    return status.st_ino;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void opened(int fd, int dir, const char *path, int flags, int existed) {
    char name[PATH_MAX];
    if (fd < 0 || !(flags & (O_CREAT | O_TRUNC)) || !name_at(dir, path, name))
        return;
    if (!existed || (flags & O_TRUNC))
        put('C', inode_of(fd), 0, name, strlen(name), NULL, 0);
}

#define OPEN_BODY(real_call, dir)                                                                  \
    mode_t mode = 0;                                                                               \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                           \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode = va_arg(rest, mode_t);                                                               \
        va_end(rest);                                                                              \
    }                                                                                              \
    int existed = log_fd >= 0 && faccessat(dir, path, F_OK, 0) == 0;                               \
    int fd = real_call;                                                                            \
    opened(fd, dir, path, flags, existed);                                                         \
    return fd;

int open(const char *path, int flags, ...) {
    OPEN_BODY(REAL(open)(path, flags, mode), AT_FDCWD)
}
int open64(const char *path, int flags, ...) {
    OPEN_BODY(REAL(open64)(path, flags, mode), AT_FDCWD)
}
int openat(int dir, const char *path, int flags, ...) {
    OPEN_BODY(REAL(openat)(dir, path, flags, mode), dir)
}
int openat64(int dir, const char *path, int flags, ...) {
    OPEN_BODY(REAL(openat64)(dir, path, flags, mode), dir)
}

static void written(int fd, const void *data, ssize_t bytes, int64_t offset) {
    uint64_t inode = bytes > 0 ? inode_of(fd) : 0;
    if (inode)
        put('W', inode, offset, data, (size_t)bytes, NULL, 0);
}

ssize_t write(int fd, const void *data, size_t bytes) {
    int64_t offset = log_fd < 0 ? 0 : lseek(fd, 0, SEEK_CUR);
    ssize_t n = REAL(write)(fd, data, bytes);
    written(fd, data, n, offset);
    return n;
}
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) {
    ssize_t n = REAL(pwrite)(fd, data, bytes, offset);
    written(fd, data, n, offset);
    return n;
}
ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t offset) {
    ssize_t n = REAL(pwrite64)(fd, data, bytes, offset);
    written(fd, data, n, offset);
    return n;
}

#define TRUNCATE(name, type)                                                                       \
    int name(int fd, type size) {                                                                  \
        int result = REAL(name)(fd, size);                                                         \
        uint64_t inode = result ? 0 : inode_of(fd);                                                \
        if (inode)                                                                                 \
            put('T', inode, size, NULL, 0, NULL, 0);                                               \
        return result;                                                                             \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name)                                                                                 \
    int name(int fd) {                                                                             \
        int result = REAL(name)(fd);                                                               \
        struct stat status, there;                                                                 \
        uint64_t inode = result ? 0 : inode_of(fd);                                                \
        if (inode)                                                                                 \
            put('S', inode, 0, NULL, 0, NULL, 0);                                                  \
        else if (log_fd >= 0 && !result && !fstat(fd, &status) && !stat(folder, &there) &&         \
                 status.st_ino == there.st_ino)                                                    \
            put('D', 0, 0, NULL, 0, NULL, 0);                                                      \
        return result;                                                                             \
    }
SYNC(fsync)
SYNC(fdatasync)

static void named(char operation, int failed, int old_dir, const char *old, int new_dir,
                  const char *new) {
    char from[PATH_MAX], to[PATH_MAX];
    if (!failed && name_at(old_dir, old, from) && name_at(new_dir, new, to))
        put(operation, 0, 0, from, strlen(from), to, strlen(to));
}

int rename(const char *old, const char *new) {
    int result = REAL(rename)(old, new);
    named('R', result, AT_FDCWD, old, AT_FDCWD, new);
    return result;
}
int renameat(int old_dir, const char *old, int new_dir, const char *new) {
    int result = REAL(renameat)(old_dir, old, new_dir, new);
    named('R', result, old_dir, old, new_dir, new);
    return result;
}
int link(const char *old, const char *new) {
    int result = REAL(link)(old, new);
    named('L', result, AT_FDCWD, old, AT_FDCWD, new);
    return result;
}
int linkat(int old_dir, const char *old, int new_dir, const char *new, int flags) {
    int result = REAL(linkat)(old_dir, old, new_dir, new, flags);
    named('L', result, old_dir, old, new_dir, new);
    return result;
}

static void removed(int failed, int dir, const char *path) {
    char name[PATH_MAX];
    if (!failed && name_at(dir, path, name))
        put('U', 0, 0, name, strlen(name), NULL, 0);
}

int unlink(const char *path) {
    int result = REAL(unlink)(path);
    removed(result, AT_FDCWD, path);
    return result;
}
int unlinkat(int dir, const char *path, int flags) {
    int result = REAL(unlinkat)(dir, path, flags);
    removed(result, dir, path);
    return result;
}

/* A device that fails: an LD_PRELOAD library for glibc on Linux.
 *
 * FAULT_ROOT     absolute real path of a directory; only what is below it is touched
 * FAULT_CONTROL  a file of at least 64 bytes that is mapped, and may be changed at any time:
 *                   0  u32  which calls fail, a set of the bits below
 *                   4  u32  how many of a million of them do
 *                   8  u32  the errno
 *                  16  u64  state of the random numbers, not 0
 *                  24  u64  how many have failed (written here)
 *                  32  u64  how many steps there were (written here)
 *                  40  u64  the step before which the process is killed, 0 for none
 *
 * A step is a call that changes something below the root. A call that fails does nothing, but for a
 * write, which may have written a part before. System calls made without libc pass it by.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, READ = 2, WRITE = 4, SYNC = 8, NAME = 16 };

struct control {
    uint32_t calls, per_million, error, unused;
    uint64_t random, failed, steps, kill_at;
};

static struct control *control;
static const char *root;
static size_t root_len;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_below(const char *path) {
    return control && path && strncmp(path, root, root_len) == 0 &&
           (path[root_len] == '/' || path[root_len] == 0);
}

static int is_fd_below(int fd) {
    char self[64], path[PATH_MAX];
    if (!control || fd < 0) return 0;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(self, path, sizeof path - 1);
    if (len < 0) return 0;
    path[len] = 0;
    return is_below(path);
}

static void step(void) {
    uint64_t n = __atomic_add_fetch(&control->steps, 1, __ATOMIC_SEQ_CST);
    if (n == control->kill_at) {
        raise(SIGKILL);
        for (;;) pause();
    }
}

static uint64_t draw(void) {
    uint64_t old = __atomic_load_n(&control->random, __ATOMIC_RELAXED), next;
    do {
        next = old;
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
    } while (!__atomic_compare_exchange_n(&control->random, &old, next, 0, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return next * 0x2545f4914f6cdd1dULL >> 33;
}

static int fails(uint32_t call) {
    if (!(control->calls & call) || draw() % 1000000 >= control->per_million) return 0;
    __atomic_add_fetch(&control->failed, 1, __ATOMIC_SEQ_CST);
    errno = (int)control->error;
    return 1;
}

/* Before a call by path or by file; not 0 if it is to fail. */
static int meets(int below, uint32_t call, int changes) {
    if (!below) return 0;
    if (changes) step();
    return fails(call);
}

#define OPENS(name, first, first_name, at)                                                        \
    int name(first const char *path, int flags, ...) {                                            \
        va_list args;                                                                             \
        va_start(args, flags);                                                                    \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;                 \
        va_end(args);                                                                             \
        if (meets(is_below(path), OPEN, flags & (O_CREAT | O_TRUNC))) return -1;                  \
        return REAL(name)(first_name path, flags, mode);                                          \
    }
#define COMMA ,
OPENS(open, , , 0)
OPENS(open64, , , 0)
OPENS(openat, int dir COMMA, dir COMMA, 1)
OPENS(openat64, int dir COMMA, dir COMMA, 1)

ssize_t read(int fd, void *to, size_t len) {
    return meets(is_fd_below(fd), READ, 0) ? -1 : REAL(read)(fd, to, len);
}

ssize_t pread(int fd, void *to, size_t len, off_t at) {
    return meets(is_fd_below(fd), READ, 0) ? -1 : REAL(pread)(fd, to, len, at);
}

ssize_t pread64(int fd, void *to, size_t len, off64_t at) {
    return meets(is_fd_below(fd), READ, 0) ? -1 : REAL(pread64)(fd, to, len, at);
}

ssize_t write(int fd, const void *from, size_t len) {
    if (meets(is_fd_below(fd), WRITE, 1)) {
        int error = errno;
        /* Every other one stops half-way. */
        if (len > 1 && draw() % 2 && REAL(write)(fd, from, len / 2) > 0) return (ssize_t)(len / 2);
        errno = error;
        return -1;
    }
    return REAL(write)(fd, from, len);
}

ssize_t pwrite(int fd, const void *from, size_t len, off_t at) {
    return meets(is_fd_below(fd), WRITE, 1) ? -1 : REAL(pwrite)(fd, from, len, at);
}

ssize_t pwrite64(int fd, const void *from, size_t len, off64_t at) {
    return meets(is_fd_below(fd), WRITE, 1) ? -1 : REAL(pwrite64)(fd, from, len, at);
}

ssize_t writev(int fd, const struct iovec *from, int count) {
    return meets(is_fd_below(fd), WRITE, 1) ? -1 : REAL(writev)(fd, from, count);
}

int ftruncate(int fd, off_t len) {
    return meets(is_fd_below(fd), WRITE, 1) ? -1 : REAL(ftruncate)(fd, len);
}

int ftruncate64(int fd, off64_t len) {
    return meets(is_fd_below(fd), WRITE, 1) ? -1 : REAL(ftruncate64)(fd, len);
}

int fsync(int fd) { return meets(is_fd_below(fd), SYNC, 1) ? -1 : REAL(fsync)(fd); }

int fdatasync(int fd) { return meets(is_fd_below(fd), SYNC, 1) ? -1 : REAL(fdatasync)(fd); }

int rename(const char *from, const char *to) {
    return meets(is_below(from), NAME, 1) ? -1 : REAL(rename)(from, to);
}

int mkdir(const char *path, mode_t mode) {
    return meets(is_below(path), NAME, 1) ? -1 : REAL(mkdir)(path, mode);
}

int unlink(const char *path) {
    return meets(is_below(path), NAME, 1) ? -1 : REAL(unlink)(path);
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAULT_CONTROL");
    root = getenv("FAULT_ROOT");
    if (!root || !path) return;
    root_len = strlen(root);
    int fd = REAL(open)(path, O_RDWR | O_CLOEXEC);
    void *at = fd < 0 ? MAP_FAILED
                      : mmap(NULL, 64, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        dprintf(2, "fault_shim: %s: %s\n", path, strerror(errno));
        _exit(97);
    }
    close(fd);
    control = at;
}

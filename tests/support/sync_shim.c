/* A device that loses what was not synced: an LD_PRELOAD library for glibc on Linux.
 *
 * SHIM_ROOT    absolute real path of a directory; only what is below it is tracked
 * SHIM_SHADOW  where to keep what the device holds; must exist, outside of the root
 * SHIM_LOG     gets one line "<call> <path relative to the root>" per successful sync
 *
 * In the shadow, `inodes/<key>` is what a file held when it was last synced, and `dirs/<key>` lists a
 * directory as lines "<f|d> <key> <name>"; `dirs/root` is the root. A key names an inode by number,
 * time of birth and generation, since numbers are used again. So a renamed file keeps its content,
 * and a name that was removed or replaced without a sync of its directory still leads to the old file.
 *
 * What counts as synced:
 * - fsync and fdatasync of a file: its content and length. If the device did not know the file yet,
 *   its name too, with every new directory above it. ext4, xfs and btrfs do that; POSIX does not ask
 *   for it, but fjall, like most programs, needs it for directories whose parents it never syncs.
 * - fsync of a directory: exactly its present names. A file that was never synced is then empty.
 * - sync, and syncfs on the root's file system: everything. msync(MS_SYNC): as fsync of the file.
 * - sync_file_range and msync(MS_ASYNC) are logged and keep nothing.
 * - What is below the root when the first process starts is on the device already.
 *
 * Everything else is lost: the harshest device that keeps its promises, harsher than ext4, which also
 * commits every earlier rename with any fsync. It does not model partly written unsynced data, O_SYNC
 * files, symbolic or hard links, names with line breaks, or two processes at once; system calls made
 * without libc (rustix, static binaries) pass it by. The shadow itself is replaced file by file with
 * rename, names before contents, so that a kill at any point leaves a state the device could be in.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_LEN 96
#define PATH_LEN (PATH_MAX + KEY_LEN)

static pthread_mutex_t shadow_lock = PTHREAD_MUTEX_INITIALIZER;
static const char *root, *shadow;
static struct stat root_stat;
static int log_fd = -1;

/* A test must not go on with a wrong shadow. */
static void die(const char *what) {
    dprintf(2, "sync_shim: %s: %s\n", what, strerror(errno));
    _exit(97);
}

static void shadow_path(char *out, const char *kind, const char *key) {
    snprintf(out, PATH_LEN, "%s/%s/%s", shadow, kind, key);
}

static const char *kind_of(char type) { return type == 'd' ? "dirs" : "inodes"; }

/* 'f' or 'd', and the key; 0 for what is not tracked. */
static char identify(int fd, char *key) {
    struct statx info;
    long generation = 0; /* tmpfs has none, and does not need it */
    if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_INO | STATX_BTIME, &info) != 0)
        return 0;
    if (!S_ISDIR(info.stx_mode) && !S_ISREG(info.stx_mode)) return 0;
    ioctl(fd, FS_IOC_GETVERSION, &generation);
    if (info.stx_ino == root_stat.st_ino)
        strcpy(key, "root");
    else
        snprintf(key, KEY_LEN, "%llu-%lld.%09u-%lx", (unsigned long long)info.stx_ino,
                 (long long)info.stx_btime.tv_sec, info.stx_btime.tv_nsec, generation);
    return S_ISDIR(info.stx_mode) ? 'd' : 'f';
}

/* The same by path; 0 too for what has just been removed. */
static char identify_path(const char *path, char *key) {
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char type = identify(fd, key);
    if (fd >= 0) close(fd);
    return type;
}

/* Whether the device knows this inode. */
static int is_known(char type, const char *key) {
    char path[PATH_LEN];
    shadow_path(path, kind_of(type), key);
    return access(path, F_OK) == 0;
}

static void create_empty(char type, const char *key) {
    char path[PATH_LEN];
    shadow_path(path, kind_of(type), key);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) die(path);
    close(fd);
}

static int open_temp(char *path) {
    static unsigned count;
    snprintf(path, PATH_LEN, "%s/temp.%d.%u", shadow, getpid(), count++);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) die(path);
    return fd;
}

static void publish(int fd, const char *temp, char type, const char *key) {
    char path[PATH_LEN];
    shadow_path(path, kind_of(type), key);
    if (close(fd) != 0 || rename(temp, path) != 0) die(path);
}

static void write_all(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0) die("write to the shadow");
        bytes += n;
        len -= (size_t)n;
    }
}

/* Copies the ranges that hold data, so that a preallocated journal costs only what is in it. */
static void copy_sparse(int in, int out) {
    static char buffer[1 << 18]; /* guarded by shadow_lock */
    off_t end = lseek(in, 0, SEEK_END);
    if (end < 0 || ftruncate(out, end) != 0) die("measure a file");
    for (off_t at = 0; at < end;) {
        off_t data = lseek(in, at, SEEK_DATA);
        if (data < 0) return; /* the rest is a hole */
        off_t hole = lseek(in, data, SEEK_HOLE);
        if (hole < 0 || hole > end) hole = end;
        if (lseek(out, data, SEEK_SET) < 0) die("seek in the shadow");
        for (at = data; at < hole;) {
            size_t want = sizeof buffer;
            if ((off_t)want > hole - at) want = (size_t)(hole - at);
            ssize_t n = pread(in, buffer, want, at);
            if (n < 0) die("read a tracked file");
            if (n == 0) return; /* truncated meanwhile */
            write_all(out, buffer, (size_t)n);
            at += n;
        }
        at = hole;
    }
}

/* The content of the open file becomes what the device holds of it. */
static void keep_content(int fd, const char *key) {
    char self[64], temp[PATH_LEN];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int in = open(self, O_RDONLY | O_CLOEXEC); /* `fd` may be write-only */
    if (in < 0) die("reopen a tracked file");
    int out = open_temp(temp);
    copy_sparse(in, out);
    close(in);
    publish(out, temp, 'f', key);
}

static void keep_name(const char *dir_key, char type, const char *key, const char *name) {
    char path[PATH_LEN], temp[PATH_LEN], line[PATH_LEN];
    int out = open_temp(temp);
    shadow_path(path, "dirs", dir_key);
    FILE *old = fopen(path, "re");
    if (!old) die(path);
    while (fgets(line, sizeof line, old)) {
        char *known = strchr(line + 2, ' ') + 1;
        size_t len = strcspn(known, "\n");
        if (len != strlen(name) || memcmp(known, name, len) != 0) write_all(out, line, strlen(line));
    }
    fclose(old);
    int len = snprintf(line, sizeof line, "%c %s %s\n", type, key, name);
    write_all(out, line, (size_t)len);
    publish(out, temp, 'd', dir_key);
}

/* Gives an inode that the device does not know its present name there, from the root down. */
static void keep_name_if_new(const char *path, char type, const char *key) {
    char parent[PATH_LEN], parent_key[KEY_LEN];
    if (is_known(type, key)) return;
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    *slash = 0;
    if (identify_path(parent, parent_key) != 'd') return;
    keep_name_if_new(parent, 'd', parent_key);
    keep_name(parent_key, type, key, slash + 1);
    create_empty(type, key);
}

/* The present names in a directory become those that the device holds. */
static void keep_listing(const char *path, const char *dir_key) {
    char temp[PATH_LEN], child[PATH_LEN], key[KEY_LEN], *text = NULL;
    size_t text_len = 0;
    FILE *lines = open_memstream(&text, &text_len);
    DIR *dir = opendir(path);
    if (!lines) die("memory");
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if ((size_t)snprintf(child, sizeof child, "%s/%s", path, entry->d_name) >= sizeof child)
            die("path too long");
        char type = identify_path(child, key);
        if (type) fprintf(lines, "%c %s %s\n", type, key, entry->d_name);
    }
    if (dir) closedir(dir);
    fclose(lines);
    int out = open_temp(temp);
    write_all(out, text, text_len);
    publish(out, temp, 'd', dir_key);
    char *rest = text;
    for (char *line; (line = strtok_r(rest, "\n", &rest));) {
        char type = line[0];
        *strchr(line + 2, ' ') = 0;
        if (!is_known(type, line + 2)) create_empty(type, line + 2);
    }
    free(text);
}

/* Everything from here down becomes what the device holds. */
static void keep_tree(const char *path, const char *dir_key) {
    char child[PATH_LEN], key[KEY_LEN];
    keep_listing(path, dir_key);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if ((size_t)snprintf(child, sizeof child, "%s/%s", path, entry->d_name) >= sizeof child)
            die("path too long");
        int fd = open(child, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        char type = identify(fd, key);
        if (type == 'd') keep_tree(child, key);
        if (type == 'f') keep_content(fd, key);
        if (fd >= 0) close(fd);
    }
    if (dir) closedir(dir);
}

/* The path of an open file, relative to the root ("." for the root); NULL if it is not below. */
static const char *path_below_root(int fd, char *path) {
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(self, path, PATH_MAX);
    if (len < 0) return NULL;
    path[len] = 0;
    size_t root_len = strlen(root);
    if (strncmp(path, root, root_len) != 0) return NULL;
    if (path[root_len] == 0) return ".";
    return path[root_len] == '/' ? path + root_len + 1 : NULL;
}

static void log_call(const char *call, const char *relative) {
    char line[PATH_LEN];
    int len = snprintf(line, sizeof line, "%s %s\n", call, relative);
    if (log_fd >= 0 && write(log_fd, line, (size_t)len) != len) die("write to the log");
}

enum effect { KEEPS_NOTHING, KEEPS_FILE, KEEPS_TREE };

/* After a real sync of `fd` returned `result`: does the same to the shadow. */
static int synced(int result, const char *call, int fd, enum effect effect) {
    char path[PATH_LEN], key[KEY_LEN];
    struct stat info;
    if (!root || result != 0 || fstat(fd, &info) != 0) return result;
    const char *relative = path_below_root(fd, path);
    if (effect == KEEPS_TREE && info.st_dev == root_stat.st_dev && !relative) relative = ".";
    if (!relative) return result;
    int saved_errno = errno;
    pthread_mutex_lock(&shadow_lock);
    char type = identify(fd, key);
    if (effect == KEEPS_TREE) {
        keep_tree(root, "root");
    } else if (effect == KEEPS_FILE && type && info.st_nlink > 0) {
        keep_name_if_new(path, type, key);
        if (type == 'f') keep_content(fd, key);
        if (type == 'd') keep_listing(path, key);
    }
    log_call(call, relative);
    pthread_mutex_unlock(&shadow_lock);
    errno = saved_errno;
    return result;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { return synced(REAL(fsync)(fd), "fsync", fd, KEEPS_FILE); }

int fdatasync(int fd) { return synced(REAL(fdatasync)(fd), "fdatasync", fd, KEEPS_FILE); }

int syncfs(int fd) { return synced(REAL(syncfs)(fd), "syncfs", fd, KEEPS_TREE); }

int sync_file_range(int fd, off_t offset, off_t len, unsigned int flags) {
    int result = REAL(sync_file_range)(fd, offset, len, flags);
    return synced(result, "sync_file_range", fd, KEEPS_NOTHING);
}

void sync(void) {
    REAL(sync)();
    int fd = root ? open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    synced(0, "sync", fd, KEEPS_TREE);
    if (fd >= 0) close(fd);
}

int msync(void *address, size_t len, int flags) {
    int result = REAL(msync)(address, len, flags);
    unsigned long start, end, at = (unsigned long)address;
    char line[PATH_LEN], path[PATH_LEN];
    FILE *maps = root && result == 0 ? fopen("/proc/self/maps", "re") : NULL;
    while (maps && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %4095[^\n]", &start, &end, path) != 3) continue;
        if (at < start || at >= end) continue;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        synced(0, "msync", fd, flags & MS_SYNC ? KEEPS_FILE : KEEPS_NOTHING);
        if (fd >= 0) close(fd);
        break;
    }
    if (maps) fclose(maps);
    return result;
}

__attribute__((constructor)) static void start(void) {
    char path[PATH_LEN];
    const char *log = getenv("SHIM_LOG");
    root = getenv("SHIM_ROOT");
    shadow = getenv("SHIM_SHADOW");
    if (!root || !shadow) {
        root = NULL;
        return;
    }
    if (stat(root, &root_stat) != 0) die(root);
    if (log && (log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0) die(log);
    shadow_path(path, "dirs", "");
    if (mkdir(path, 0700) != 0 && errno != EEXIST) die(path);
    shadow_path(path, "inodes", "");
    if (mkdir(path, 0700) != 0 && errno != EEXIST) die(path);
    if (!is_known('d', "root")) keep_tree(root, "root");
}

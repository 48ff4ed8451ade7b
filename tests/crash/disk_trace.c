/* A library to preload: writes down what a process does to the files of one directory, and can make it fail.
 *
 * DISK_TRACE_DIRECTORY: whose files. DISK_TRACE_LOG: where to write; records as `tests/crash/disk.py` reads them.
 * Or disk_trace_start. What is to fail is in DISK_TRACE_FAIL or its argument: "KIND INDEX ERRNO", the write ("write") or
 * sync ("sync") of this number, from 0, with ERRNO. DISK_TRACE_ROOM, or its argument, is how many bytes the files may
 * grow until every further growth fails (ENOSPC), -1: any.
 *
 * SQLite's index of the log (-shm) is shared memory that is made anew after a crash: it is left out. So is the file
 * "acked", whose writes are only noted: the process tells the tests with it how far it has come.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 1024

static char *names[FILES];
static char directory[4096];
static size_t directory_bytes;
static int log_file = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int fail_write = -1, fail_sync = -1, fail_errno = EIO;
static int writes, syncs;
static long long room = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static ssize_t write_plain(int file, const void *bytes, size_t count)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        real = REAL(write);
    return real(file, bytes, count);
}

static int close_plain(int file)
{
    static int (*real)(int);
    if (!real)
        real = REAL(close);
    return real(file);
}

static void note(char kind, const char *path, uint64_t offset, const void *data, uint64_t count)
{
    uint32_t path_bytes = (uint32_t)strlen(path);
    char head[1 + 4 + 8 + 8];
    head[0] = kind;
    memcpy(head + 1, &path_bytes, 4);
    memcpy(head + 5, &offset, 8);
    memcpy(head + 13, &count, 8);
    if (write_plain(log_file, head, sizeof head) != sizeof head || write_plain(log_file, path, path_bytes) != (ssize_t)path_bytes
        || (count && write_plain(log_file, data, count) != (ssize_t)count))
        abort();
}

/* Begin anew with another directory; a log_path of "" ends it. For processes that do this many times. */
void disk_trace_start(const char *where, const char *log_path, const char *fail, long long bytes)
{
    int (*real)(const char *, int, ...) = REAL(open64);
    pthread_mutex_lock(&lock);
    if (log_file >= 0)
        close_plain(log_file);
    log_file = -1;
    for (int file = 0; file < FILES; file++) {
        free(names[file]);
        names[file] = NULL;
    }
    snprintf(directory, sizeof directory, "%s", where);
    directory_bytes = strlen(directory);
    fail_write = fail_sync = -1;
    writes = syncs = 0;
    room = bytes;
    if (*fail) {
        char kind[8];
        int index, number;
        if (sscanf(fail, "%7s %d %d", kind, &index, &number) != 3)
            abort();
        fail_errno = number;
        *(strcmp(kind, "sync") ? &fail_write : &fail_sync) = index;
    }
    if (*log_path)
        log_file = real(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void begin(void)
{
    const char *where = getenv("DISK_TRACE_DIRECTORY"), *log_path = getenv("DISK_TRACE_LOG");
    const char *fail = getenv("DISK_TRACE_FAIL"), *bytes = getenv("DISK_TRACE_ROOM");
    if (where && log_path)
        disk_trace_start(where, log_path, fail ? fail : "", bytes ? atoll(bytes) : -1);
}

/* The name within the directory, "." for itself; NULL: it is not one of ours. */
static const char *ours(const char *path)
{
    if (log_file < 0 || strncmp(path, directory, directory_bytes))
        return NULL;
    if (!path[directory_bytes])
        return ".";
    if (path[directory_bytes] != '/')
        return NULL;
    const char *name = path + directory_bytes + 1;
    size_t count = strlen(name);
    if (count >= 4 && !strcmp(name + count - 4, "-shm"))
        return NULL;
    return name;
}

static int opened(int file, const char *path, int flags, int was_there)
{
    const char *name = ours(path);
    if (file < 0 || file >= FILES || !name)
        return file;
    pthread_mutex_lock(&lock);
    free(names[file]);
    names[file] = strdup(name);
    if (!was_there)
        note('O', name, 0, NULL, 0);
    else if ((flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY)
        note('T', name, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return file;
}

#define OPEN(function)                                                                                                \
    int function(const char *path, int flags, ...)                                                                    \
    {                                                                                                                 \
        va_list rest;                                                                                                 \
        va_start(rest, flags);                                                                                        \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;                                     \
        va_end(rest);                                                                                                 \
        int (*real)(const char *, int, ...) = REAL(function);                                                         \
        int was_there = !ours(path) || !access(path, F_OK);                                                           \
        return opened(real(path, flags, mode), path, flags, was_there);                                               \
    }
OPEN(open)
OPEN(open64)

int close(int file)
{
    pthread_mutex_lock(&lock);
    if (file >= 0 && file < FILES) {
        free(names[file]);
        names[file] = NULL;
    }
    pthread_mutex_unlock(&lock);
    return close_plain(file);
}

static const char *name_of(int file)
{
    return file >= 0 && file < FILES ? names[file] : NULL;
}

/* Whether this write is to fail; sets errno. The lock is held. */
static int write_fails(int file, const char *name, uint64_t end)
{
    struct stat state;
    if (!strcmp(name, "acked"))
        return 0;
    if (writes++ == fail_write) {
        errno = fail_errno;
        return 1;
    }
    if (room >= 0 && !fstat(file, &state) && end > (uint64_t)state.st_size) {
        if ((long long)(end - (uint64_t)state.st_size) > room) {
            errno = ENOSPC;
            return 1;
        }
        room -= (long long)(end - (uint64_t)state.st_size);
    }
    return 0;
}

ssize_t write(int file, const void *bytes, size_t count)
{
    const char *name = name_of(file);
    if (!name)
        return write_plain(file, bytes, count);
    pthread_mutex_lock(&lock);
    uint64_t offset = (uint64_t)lseek(file, 0, (fcntl(file, F_GETFL) & O_APPEND) ? SEEK_END : SEEK_CUR);
    ssize_t done = write_fails(file, name, offset + count) ? -1 : write_plain(file, bytes, count);
    if (done > 0)
        note('W', name, offset, bytes, (uint64_t)done);
    pthread_mutex_unlock(&lock);
    return done;
}

#define PWRITE(function, offset_type)                                                                                 \
    ssize_t function(int file, const void *bytes, size_t count, offset_type offset)                                   \
    {                                                                                                                 \
        static ssize_t (*real)(int, const void *, size_t, offset_type);                                               \
        if (!real)                                                                                                    \
            real = REAL(function);                                                                                    \
        const char *name = name_of(file);                                                                             \
        if (!name)                                                                                                    \
            return real(file, bytes, count, offset);                                                                  \
        pthread_mutex_lock(&lock);                                                                                    \
        ssize_t done = write_fails(file, name, (uint64_t)offset + count) ? -1 : real(file, bytes, count, offset);     \
        if (done > 0)                                                                                                 \
            note('W', name, (uint64_t)offset, bytes, (uint64_t)done);                                                 \
        pthread_mutex_unlock(&lock);                                                                                  \
        return done;                                                                                                  \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATE(function, offset_type)                                                                               \
    int function(int file, offset_type size)                                                                          \
    {                                                                                                                 \
        static int (*real)(int, offset_type);                                                                         \
        if (!real)                                                                                                    \
            real = REAL(function);                                                                                    \
        const char *name = name_of(file);                                                                             \
        if (!name)                                                                                                    \
            return real(file, size);                                                                                  \
        pthread_mutex_lock(&lock);                                                                                    \
        int code = write_fails(file, name, 0) ? -1 : real(file, size);                                                \
        if (!code)                                                                                                    \
            note('T', name, (uint64_t)size, NULL, 0);                                                                 \
        pthread_mutex_unlock(&lock);                                                                                  \
        return code;                                                                                                  \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(function)                                                                                                \
    int function(int file)                                                                                            \
    {                                                                                                                 \
        static int (*real)(int);                                                                                      \
        if (!real)                                                                                                    \
            real = REAL(function);                                                                                    \
        const char *name = name_of(file);                                                                             \
        if (!name)                                                                                                    \
            return real(file);                                                                                        \
        pthread_mutex_lock(&lock);                                                                                    \
        int code = syncs++ == fail_sync ? -1 : 0; /* nothing has to reach a disk: the log is what counts */           \
        if (code)                                                                                                     \
            errno = fail_errno;                                                                                       \
        note(code ? 'F' : 'S', name, 0, NULL, 0);                                                                     \
        pthread_mutex_unlock(&lock);                                                                                  \
        return code;                                                                                                  \
    }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to)
{
    int (*real)(const char *, const char *) = REAL(rename);
    int code = real(from, to);
    if (!code && ours(from) && ours(to)) {
        pthread_mutex_lock(&lock);
        note('R', ours(from), 0, ours(to), strlen(ours(to)));
        pthread_mutex_unlock(&lock);
    }
    return code;
}

int unlink(const char *path)
{
    int (*real)(const char *) = REAL(unlink);
    int code = real(path);
    if (!code && ours(path)) {
        pthread_mutex_lock(&lock);
        note('U', ours(path), 0, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return code;
}

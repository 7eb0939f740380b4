/* What the three load programs share: clock, histogram, sockets, placeholders, and the head of an HTTP message. */
#ifndef WIRE_H
#define WIRE_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TIME_MARK "\"sent_us\":"     /* in every payload, before 16 digits: microseconds since 1970 */
#define NUMBER_MARK "\"number\":"    /* and before 10 digits: 10^9 + the event's number */
#define TIME_DIGITS 16
#define NUMBER_DIGITS 10
#define NUMBER_BASE 1000000000ULL
#define HEAD_MAX 16384

static inline void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

/* Microseconds since 1970: the same clock for whoever sends and whoever receives on this machine. */
static inline uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static inline double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* A log-linear histogram of microseconds: exact below 128, then 64 buckets for each doubling (1.6 %).
 * bench/histogram.py reads it. */
#define BUCKETS 2432
typedef struct { uint64_t count[BUCKETS]; } Histogram;

static inline unsigned bucket_of(uint64_t us) {
    if (us < 128) return (unsigned)us;
    unsigned shift = 63 - __builtin_clzll(us) - 6;
    unsigned index = shift * 64 + (unsigned)(us >> shift);
    return index < BUCKETS ? index : BUCKETS - 1;
}

static inline void note(Histogram *h, uint64_t from, uint64_t until) {
    h->count[bucket_of(until > from ? until - from : 0)]++;
}

static inline void print_histogram(const char *name, const Histogram *h) {
    printf("\"%s\":[", name);
    for (unsigned i = 0, some = 0; i < BUCKETS; i++)
        if (h->count[i]) printf("%s[%u,%llu]", some++ ? "," : "", i, (unsigned long long)h->count[i]);
    printf("]");
}

/* Microseconds in `digits` digits after a mark in text[0..length); 0 when there is none. *after: behind them. */
static inline uint64_t marked(const char *text, size_t length, const char *mark, int digits, const char **after) {
    size_t marks = strlen(mark);
    const char *found = memmem(text, length, mark, marks);
    if (!found || (size_t)(text + length - found) < marks + digits) return 0;
    uint64_t value = 0;
    for (int i = 0; i < digits; i++) value = value * 10 + (uint64_t)(found[marks + i] - '0');
    if (after) *after = found + marks + digits;
    return value;
}

static inline void write_digits(char *place, int digits, uint64_t value) {
    for (int i = digits - 1; i >= 0; i--, value /= 10) place[i] = (char)('0' + value % 10);
}

static inline void allow_many_files(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static inline struct sockaddr_in loopback(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

/* A connection that is being made; it is there when the socket is writable. -1 when it cannot be. */
static inline int start_connect(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0) return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in a = loopback(port);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

static inline void watch_fd(int epoll, int op, int fd, uint32_t events, uint64_t data) {
    struct epoll_event e = {.events = events, .data.u64 = data};
    if (epoll_ctl(epoll, op, fd, &e) < 0 && op != EPOLL_CTL_DEL) die("epoll_ctl");
}

/* The value of a header in a head that ends with 0, or NULL. name: with its colon. */
static inline const char *header(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strchr(head, '\n'); line; line = strchr(line, '\n')) {
        line++;
        if (!strncasecmp(line, name, length)) {
            line += length;
            while (*line == ' ') line++;
            return line;
        }
    }
    return NULL;
}
#endif

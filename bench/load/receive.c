/* receive: an HTTP/1.1 server for webhooks that keeps the books about what arrives, and when.
 *
 * POST /ok/LABEL is answered at once, /slow/LABEL after --slow-ms, /fail/LABEL with 500, /hang/LABEL never; /lane/LABEL
 * at once, too, but what is of the stream "blocked" with 500, and that is not counted. LABEL is 0 to 63. Of each label it
 * counts requests, distinct event numbers, and the latency from the payload's time. On standard input: `report` prints a
 * JSON line and starts over (numbers seen stay known), `look` prints it alone, `hang LABEL` and `serve LABEL` let
 * /ok/LABEL hang from now on, or no more; ends with its input. Any other path is answered 200: the trivial server against
 * which `post` is held. */
#include "wire.h"

#define LABELS 64
#define NUMBERS (1u << 27)
#define BODY_MAX 65536
static int hangs[LABELS];
typedef struct { uint64_t requests, distinct, first, last, each_second[4096]; Histogram latency; uint8_t *seen; } Books;
typedef struct { int fd; char *buffer; size_t length, room; uint32_t generation; } Connection;
typedef struct { int fd; uint32_t generation; uint64_t at; } Late;

static Books books[LABELS];
static Connection *all;
static size_t all_room;
static Late *late;
static size_t late_head, late_tail;
#define LATE 1048576
static uint64_t slow_us = 100000, began;
static double cpu_began;
static int epoll_fd;
static const char OK[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
static const char FAIL[] = "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno";
static const char BLOCKED[] = "\"id\":\"blocked\"";

static void hang_up(int fd) {
    close(fd);
    all[fd].fd = -1;
    all[fd].length = 0;
    all[fd].generation++;
}

static void answer(int fd, const char *text, size_t length) {
    if (send(fd, text, length, MSG_NOSIGNAL) != (ssize_t)length) hang_up(fd);
}

static void enter(unsigned label, const char *body, size_t length) {
    Books *b = &books[label % LABELS];
    uint64_t now = now_us();
    uint64_t sent = marked(body, length, TIME_MARK, TIME_DIGITS, NULL);
    uint64_t number = marked(body, length, NUMBER_MARK, NUMBER_DIGITS, NULL);
    if (!b->requests++) b->first = now;
    b->last = now;
    if (sent) note(&b->latency, sent, now);
    uint64_t second = (now - began) / 1000000;
    if (second < 4096) b->each_second[second]++;
    if (!number) return;
    if (!b->seen) b->seen = calloc(NUMBERS / 8, 1);
    uint32_t bit = (uint32_t)((number - NUMBER_BASE) % NUMBERS);
    if (!(b->seen[bit / 8] >> bit % 8 & 1)) b->distinct++;
    b->seen[bit / 8] |= (uint8_t)(1 << bit % 8);
}

/* One whole request at the buffer's start; returns its length, 0 when there is more to come. */
static size_t take(int fd) {
    Connection *c = &all[fd];
    char *end = memmem(c->buffer, c->length, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = (size_t)(end - c->buffer) + 4;
    *end = 0;
    const char *value = header(c->buffer, "Content-Length:");
    size_t body = value ? strtoull(value, NULL, 10) : 0;
    *end = '\r';
    if (c->length < head + body) return 0;
    char *path = memchr(c->buffer, ' ', head);
    path = path ? path + 1 : c->buffer;
    char *slash = memchr(path + 1, '/', (size_t)(end - path) - 1);
    unsigned label = slash ? (unsigned)atoi(slash + 1) : 0;
    if (!strncmp(path, "/ok/", 4)) {
        enter(label, c->buffer + head, body);
        if (!hangs[label % LABELS]) answer(fd, OK, sizeof OK - 1);
    } else if (!strncmp(path, "/lane/", 6)) {
        int refused = memmem(c->buffer + head, body, BLOCKED, sizeof BLOCKED - 1) != NULL;
        if (!refused) enter(label, c->buffer + head, body);
        answer(fd, refused ? FAIL : OK, (refused ? sizeof FAIL : sizeof OK) - 1);
    } else if (!strncmp(path, "/hang/", 6)) {
        enter(label, c->buffer + head, body);
    } else if (!strncmp(path, "/fail/", 6)) {
        enter(label, c->buffer + head, body);
        answer(fd, FAIL, sizeof FAIL - 1);
    } else if (!strncmp(path, "/slow/", 6)) {
        enter(label, c->buffer + head, body);
        late[late_tail++ % LATE] = (Late){fd, c->generation, now_us() + slow_us};
    } else {
        answer(fd, OK, sizeof OK - 1);
    }
    return head + body;
}

static void on_readable(int fd) {
    Connection *c = &all[fd];
    if (c->length + 4096 > c->room) c->buffer = realloc(c->buffer, (c->room = c->room ? c->room * 2 : 8192) + 1);
    ssize_t n = recv(fd, c->buffer + c->length, c->room - c->length, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { hang_up(fd); return; }
    c->length += (size_t)n;
    size_t used;
    while (c->fd >= 0 && c->length && (used = take(fd)) > 0) {
        memmove(c->buffer, c->buffer + used, c->length - used);
        c->length -= used;
    }
}

static void on_listener(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if ((size_t)fd >= all_room) { close(fd); continue; }
        all[fd].fd = fd;
        all[fd].length = 0;
        watch_fd(epoll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, (uint64_t)fd);
    }
}

static void report(int start_over) {
    uint64_t now = now_us();
    printf("{\"cpu\":%.6f,\"seconds\":%.6f,\"labels\":{", cpu_seconds() - cpu_began, (now - began) / 1e6);
    for (unsigned l = 0, some = 0; l < LABELS; l++) {
        Books *b = &books[l];
        if (!b->requests) continue;
        printf("%s\"%u\":{\"requests\":%llu,\"distinct\":%llu,\"first_us\":%llu,\"last_us\":%llu,\"each_second\":[",
               some++ ? "," : "", l, (unsigned long long)b->requests, (unsigned long long)b->distinct,
               (unsigned long long)b->first, (unsigned long long)b->last);
        for (uint64_t s = 0; s <= (now - began) / 1000000 && s < 4096; s++)
            printf("%s%llu", s ? "," : "", (unsigned long long)b->each_second[s]);
        printf("],");
        print_histogram("latency", &b->latency);
        printf("}");
        if (start_over) {
            uint8_t *seen = b->seen;
            memset(b, 0, sizeof *b);
            b->seen = seen;
        }
    }
    printf("}}\n");
    fflush(stdout);
    if (start_over) began = now_us(), cpu_began = cpu_seconds();
}

static void on_command(void) {
    char line[256];
    ssize_t n = read(0, line, sizeof line);
    if (n <= 0) exit(0);
    if (!strncmp(line, "report", 6)) report(1);
    else if (!strncmp(line, "look", 4)) report(0);
    else if (!strncmp(line, "hang ", 5)) hangs[atoi(line + 5) % LABELS] = 1, report(0);
    else if (!strncmp(line, "serve ", 6)) hangs[atoi(line + 6) % LABELS] = 0, report(0);
}

int main(int argc, char **argv) {
    int port = 0, one = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--port")) port = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--slow-ms")) slow_us = strtoull(argv[i + 1], NULL, 10) * 1000;
        else { fprintf(stderr, "unknown option %s\n", argv[i]); return 2; }
    }
    allow_many_files();
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    all_room = files.rlim_cur < 200000 ? files.rlim_cur : 200000;
    all = calloc(all_room, sizeof *all);
    late = calloc(LATE, sizeof *late);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = loopback(port);
    socklen_t size = sizeof a;
    if (bind(listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(listener, 8192) < 0) die("listen");
    getsockname(listener, (struct sockaddr *)&a, &size);
    watch_fd(epoll_fd, EPOLL_CTL_ADD, listener, EPOLLIN, (uint64_t)listener);
    watch_fd(epoll_fd, EPOLL_CTL_ADD, 0, EPOLLIN, 0);
    began = now_us();
    cpu_began = cpu_seconds();
    printf("{\"port\":%d}\n", ntohs(a.sin_port));
    fflush(stdout);
    struct epoll_event events[256];
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 256, late_head < late_tail ? 1 : -1);
        for (int i = 0; i < n; i++) {
            int fd = (int)events[i].data.u64;
            if (fd == 0) on_command();
            else if (fd == listener) on_listener(listener);
            else if (all[fd].fd >= 0) on_readable(fd);
        }
        for (; late_head < late_tail && late[late_head % LATE].at <= now_us(); late_head++) {
            Late *l = &late[late_head % LATE];
            if (all[l->fd].fd >= 0 && all[l->fd].generation == l->generation) answer(l->fd, OK, sizeof OK - 1);
        }
    }
}

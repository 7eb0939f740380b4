/* post: sends HTTP/1.1 requests on keep-alive connections, as an open loop (--rate) or as a closed one.
 *
 * The request is a template: @TIME@ becomes the microseconds at which it should leave, @NUMBER@ an event's number,
 * @STREAM@ that number modulo --streams in eight digits. In the open loop a latency counts from the moment at which the
 * request was due, not from when a connection was free: a server that stalls cannot hide it. Prints one JSON line. */
#include "wire.h"
#include <sys/timerfd.h>

enum { IDLE, CONNECTING, SENDING, HEAD, BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };
typedef struct {
    int fd, state, status, closes;
    char *request;
    size_t sent;
    uint64_t due, left;
    char head[HEAD_MAX];
    size_t head_length;
    int line_length, fresh;
} Connection;
typedef struct { size_t at; int digits; char kind; } Place;

static int port, connections = 1, epoll_fd, timer_fd, method_get;
static double rate, seconds = 5;
static uint64_t limit, streams = 1, number, first_number, pause_us;
static char *template_text;
static size_t template_length, places_count;
static Place *places;
static Connection *all;
static int *idle, idle_count;
static uint64_t *queue, queue_head, queue_tail;
#define QUEUE 1048576ULL
static Histogram latency;
static uint64_t answered, started, errors, by_class[6], in_flight, most_waiting, first_error_status, events_a_request;
static uint64_t begin, finish, last_answer;
static int stopping;
static uint64_t seconds_series[100000];

static void find_places(void) {
    struct { const char *mark; int digits; char kind; } kinds[] = {
        {"@TIME@", TIME_DIGITS, 't'}, {"@NUMBER@", NUMBER_DIGITS, 'n'}, {"@STREAM@", 8, 's'}};
    size_t room = 16;
    places = malloc(room * sizeof *places);
    char *out = malloc(template_length * 3 + 1);
    size_t length = 0;
    for (size_t i = 0; i < template_length;) {
        int hit = 0;
        for (int k = 0; k < 3 && !hit; k++) {
            size_t marks = strlen(kinds[k].mark);
            if (template_length - i >= marks && !memcmp(template_text + i, kinds[k].mark, marks)) {
                if (places_count == room) places = realloc(places, (room *= 2) * sizeof *places);
                places[places_count++] = (Place){length, kinds[k].digits, kinds[k].kind};
                memset(out + length, '0', (size_t)kinds[k].digits);
                length += (size_t)kinds[k].digits;
                i += marks;
                hit = 1;
                if (kinds[k].kind == 'n') events_a_request++;
            }
        }
        if (!hit) out[length++] = template_text[i++];
    }
    template_text = out;
    template_length = length;
    if (!events_a_request) events_a_request = 1;
}

/* Puts Content-Length between head and body: the body's length is known once its places are. */
static void set_length(size_t head_length) {
    char *head_end = memmem(template_text, template_length, "\r\n\r\n", 4), line[64];
    (void)head_length;
    size_t at = (size_t)(head_end - template_text) + 2, body = template_length - at - 2;
    if (method_get) return;
    int extra = snprintf(line, sizeof line, "Content-Length: %zu\r\n", body);
    char *out = malloc(template_length + (size_t)extra);
    memcpy(out, template_text, at);
    memcpy(out + at, line, (size_t)extra);
    memcpy(out + at + extra, template_text + at, template_length - at);
    for (size_t i = 0; i < places_count; i++)
        if (places[i].at >= at) places[i].at += (size_t)extra;
    template_text = out;
    template_length += (size_t)extra;
}

static void fill(Connection *c) {
    for (size_t i = 0; i < places_count; i++) {
        Place *p = &places[i];
        uint64_t value = p->kind == 't' ? c->due : p->kind == 'n' ? NUMBER_BASE + number : number % streams;
        write_digits(c->request + p->at, p->digits, value);
        if (p->kind == 'n') number++;   /* the last place of an event: its stream stands before it */
    }
}

static void lose(Connection *c);

static void push(Connection *c) {
    while (c->sent < template_length) {
        ssize_t n = send(c->fd, c->request + c->sent, template_length - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            watch_fd(epoll_fd, EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLOUT, (uint64_t)(c - all));
            return;
        }
        if (n < 0) { lose(c); return; }
        c->sent += (size_t)n;
    }
    watch_fd(epoll_fd, EPOLL_CTL_MOD, c->fd, EPOLLIN, (uint64_t)(c - all));
    c->state = HEAD;
    c->head_length = 0;
}

static void begin_request(Connection *c, uint64_t due) {
    c->due = due;
    c->sent = 0;
    fill(c);
    started++;
    in_flight++;
    if (c->fd < 0) {
        c->fd = start_connect(port);
        if (c->fd < 0) die("connect");
        watch_fd(epoll_fd, EPOLL_CTL_ADD, c->fd, EPOLLOUT, (uint64_t)(c - all));
        c->state = CONNECTING;
        return;
    }
    c->state = SENDING;
    push(c);
}

static void dispatch(void) {
    while (queue_head < queue_tail && idle_count > 0)
        begin_request(&all[idle[--idle_count]], queue[queue_head++ % QUEUE]);
    if (queue_tail - queue_head > most_waiting) most_waiting = queue_tail - queue_head;
}

static void hang_up(Connection *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static void next(Connection *c) {
    c->state = IDLE;
    in_flight--;
    if (rate > 0) {
        idle[idle_count++] = (int)(c - all);
        dispatch();
    } else if (!stopping && now_us() < finish && (!limit || started < limit)) {
        begin_request(c, now_us());
    } else {
        idle[idle_count++] = (int)(c - all);
    }
}

static void lose(Connection *c) {
    hang_up(c);
    errors++;
    next(c);
}

static void answer_complete(Connection *c) {
    uint64_t now = now_us();
    note(&latency, c->due, now);
    answered++;
    last_answer = now;
    uint64_t second = (now - begin) / 1000000;
    if (second < 100000) seconds_series[second]++;
    by_class[c->status / 100 < 6 ? c->status / 100 : 0]++;
    if (c->status >= 400 && !first_error_status) first_error_status = (uint64_t)c->status;
    if (c->closes) hang_up(c);
    next(c);
}

/* Takes bytes of the body; what they hold is not looked at. Returns when they are used up or the answer is whole. */
static int take_body(Connection *c, const char *data, size_t length) {
    for (size_t i = 0; i < length;) {
        if (c->state == BODY || c->state == CHUNK_DATA) {
            size_t part = length - i < c->left ? length - i : c->left;
            i += part;
            c->left -= part;
            if (c->left) continue;
            if (c->state == BODY) return 1;
            c->state = CHUNK_END;
        } else if (c->state == CHUNK_SIZE) {
            char b = data[i++];
            if (b == '\n') c->state = c->left ? CHUNK_DATA : TRAILER, c->line_length = 0;
            else if (b != '\r') c->left = c->left * 16 + (uint64_t)(b <= '9' ? b - '0' : (b | 32) - 'a' + 10);
        } else if (c->state == CHUNK_END) {
            if (data[i++] == '\n') c->state = CHUNK_SIZE, c->left = 0;
        } else {                     /* TRAILER: an empty line ends it */
            char b = data[i++];
            if (b == '\n') {
                if (!c->line_length) return 1;
                c->line_length = 0;
            } else if (b != '\r') c->line_length++;
        }
    }
    return c->state == BODY && !c->left;
}

static void take_head(Connection *c, const char *data, size_t length) {
    size_t room = HEAD_MAX - 1 - c->head_length, part = length < room ? length : room;
    size_t before = c->head_length;
    memcpy(c->head + before, data, part);
    c->head_length += part;
    c->head[c->head_length] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) { if (part < length || !room) lose(c); return; }
    size_t used = (size_t)(end - c->head) + 4 - before;
    *end = 0;
    c->status = c->head_length > 12 ? atoi(c->head + 9) : 0;
    const char *value = header(c->head, "Transfer-Encoding:");
    const char *connection = header(c->head, "Connection:");
    c->closes = connection && !strncasecmp(connection, "close", 5);
    if (value && !strncasecmp(value, "chunked", 7)) c->state = CHUNK_SIZE, c->left = 0;
    else {
        value = header(c->head, "Content-Length:");
        c->state = BODY;
        c->left = value ? strtoull(value, NULL, 10) : 0;
    }
    if (take_body(c, data + used, length - used)) answer_complete(c);
}

static void on_event(Connection *c, uint32_t events) {
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) { lose(c); return; }
        c->state = SENDING;
        push(c);
        return;
    }
    if (c->state == SENDING && events & EPOLLOUT) { push(c); return; }
    static char buffer[262144];
    ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (c->state == IDLE) { hang_up(c); return; }  /* the server closed a connection that was idle for long */
    if (n <= 0) { lose(c); return; }
    if (c->state == HEAD) take_head(c, buffer, (size_t)n);
    else if (c->state > HEAD && take_body(c, buffer, (size_t)n)) answer_complete(c);
}

static void arm(uint64_t us) {
    struct itimerspec t = {.it_value = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

static uint64_t scheduled;
static uint64_t due_at(uint64_t k) { return begin + (uint64_t)((double)k * 1e6 / rate); }

static void on_timer(void) {
    uint64_t times, now = now_us();
    if (read(timer_fd, &times, sizeof times) < 0) {}
    uint64_t whole = limit ? limit : (uint64_t)(rate * seconds);
    for (; scheduled < whole && due_at(scheduled) <= now; scheduled++)
        queue[queue_tail++ % QUEUE] = due_at(scheduled);
    dispatch();
    if (scheduled < whole) arm(due_at(scheduled));
    else stopping = 1;
}

static void report(double cpu) {
    uint64_t until = last_answer > begin ? last_answer : now_us();
    printf("{\"answered\":%llu,\"events\":%llu,\"errors\":%llu,\"first_us\":%llu,\"last_us\":%llu,\"seconds\":%.6f,"
           "\"cpu\":%.6f,\"most_waiting\":%llu,\"bad_status\":%llu,\"status\":[%llu,%llu,%llu,%llu,%llu,%llu],",
           (unsigned long long)answered, (unsigned long long)(number - first_number), (unsigned long long)errors,
           (unsigned long long)begin, (unsigned long long)until, (until - begin) / 1e6, cpu,
           (unsigned long long)most_waiting, (unsigned long long)first_error_status,
           (unsigned long long)by_class[0], (unsigned long long)by_class[1], (unsigned long long)by_class[2],
           (unsigned long long)by_class[3], (unsigned long long)by_class[4], (unsigned long long)by_class[5]);
    printf("\"each_second\":[");
    for (uint64_t s = 0; s <= (until - begin) / 1000000 && s < 100000; s++)
        printf("%s%llu", s ? "," : "", (unsigned long long)seconds_series[s]);
    printf("],");
    print_histogram("latency", &latency);
    printf("}\n");
}

static char *read_file(const char *name, size_t *length) {
    FILE *f = fopen(name, "rb");
    if (!f) die(name);
    size_t room = 1 << 16, n;
    char *text = malloc(room);
    *length = 0;
    while ((n = fread(text + *length, 1, room - *length, f)) > 0)
        if ((*length += n) == room) text = realloc(text, room *= 2);
    fclose(f);
    return text;
}

int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--port")) port = atoi(value);
        else if (!strcmp(name, "--connections")) connections = atoi(value);
        else if (!strcmp(name, "--rate")) rate = atof(value);
        else if (!strcmp(name, "--seconds")) seconds = atof(value);
        else if (!strcmp(name, "--count")) limit = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--streams")) streams = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--number")) number = first_number = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--patience")) pause_us = (uint64_t)(atof(value) * 1e6);
        else if (!strcmp(name, "--request")) template_text = read_file(value, &template_length);
        else { fprintf(stderr, "unknown option %s\n", name); return 2; }
    }
    if (!port || !template_text) { fprintf(stderr, "--port and --request are required\n"); return 2; }
    if (!pause_us) pause_us = 30000000;
    if (limit && rate <= 0) seconds = 1e6;
    allow_many_files();
    method_get = !strncmp(template_text, "GET ", 4);
    find_places();
    set_length(0);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    all = calloc((size_t)connections, sizeof *all);
    idle = calloc((size_t)connections, sizeof *idle);
    queue = malloc(QUEUE * sizeof *queue);
    for (int i = 0; i < connections; i++) {
        all[i].fd = -1;
        all[i].request = malloc(template_length);
        memcpy(all[i].request, template_text, template_length);
    }
    double cpu = cpu_seconds();
    begin = now_us();
    finish = begin + (uint64_t)(seconds * 1e6);
    if (rate > 0) {
        for (int i = connections - 1; i >= 0; i--) idle[idle_count++] = i;
        watch_fd(epoll_fd, EPOLL_CTL_ADD, timer_fd, EPOLLIN, UINT64_MAX);
        arm(begin);
    } else {
        for (int i = 0; i < connections && (!limit || started < limit); i++) begin_request(&all[i], now_us());
    }
    struct epoll_event events[256];
    while (in_flight || (rate > 0 && (!stopping || queue_head < queue_tail))) {
        int n = epoll_wait(epoll_fd, events, 256, 1000);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == UINT64_MAX) on_timer();
            else if (all[events[i].data.u64].fd >= 0) on_event(&all[events[i].data.u64], events[i].events);
        }
        if (now_us() > finish + pause_us && !(limit && rate <= 0)) {  /* the rest is not answered any more */
            errors += in_flight + (queue_tail - queue_head);
            break;
        }
    }
    report(cpu_seconds() - cpu);
    return 0;
}

/* watch: many viewers of live streams (Server-Sent Events, or WebSockets with --websocket 1).
 *
 * Connection k asks for --request with @STREAM@ as (--first + k modulo --streams) in eight digits, at most --pace at a
 * time. Prints a JSON line when all are open or refused. Every payload seen is a frame: counted, with its latency from
 * the payload's time. On standard input: `report` prints a JSON line and starts over, `look` only prints; ends with its
 * input. */
#include "wire.h"

enum { WAITING, CONNECTING, HEAD, OPEN, DEAD };
#define CARRY 32   /* of a buffer's end: a mark and its digits may be cut in two */
typedef struct {
    int fd, state, status;
    unsigned char carried;
    char carry[CARRY];
    char *head;
    size_t head_length;
    uint64_t frames, left;
    unsigned char ws[14], ws_length, ws_need, ping[126], ping_length, opcode;
} Viewer;

static Viewer *all;
static int port, count = 1, pace = 64, epoll_fd, websocket, ready, refused, dropped, next_one, opening;
static uint64_t streams = 1, first, bytes, frames, last_frame, began, opened_us, bad_status;
static double cpu_began;
static char *template_text;
static size_t template_length, stream_at;
static int has_stream;
static Histogram latency;

static void start(Viewer *v) {
    v->fd = start_connect(port);
    if (v->fd < 0) die("connect");
    v->state = CONNECTING;
    watch_fd(epoll_fd, EPOLL_CTL_ADD, v->fd, EPOLLOUT, (uint64_t)(v - all) + 1);
    opening++;
}

static void start_more(void) {
    while (opening < pace && next_one < count) start(&all[next_one++]);
}

static void report(const char *kind) {
    uint64_t reached = 0;
    for (int i = 0; i < count; i++) reached += all[i].frames > 0;
    printf("{\"%s\":true,\"open\":%d,\"refused\":%d,\"dropped\":%d,\"bad_status\":%llu,\"opening_seconds\":%.6f,"
           "\"frames\":%llu,\"bytes\":%llu,\"reached\":%llu,\"last_us\":%llu,\"seconds\":%.6f,\"cpu\":%.6f,",
           kind, ready - dropped, refused, dropped, (unsigned long long)bad_status, (opened_us - began) / 1e6,
           (unsigned long long)frames, (unsigned long long)bytes, (unsigned long long)reached,
           (unsigned long long)last_frame, (now_us() - began) / 1e6, cpu_seconds() - cpu_began);
    print_histogram("latency", &latency);
    printf("}\n");
    fflush(stdout);
}

static void start_over(void) {
    frames = bytes = last_frame = 0;
    memset(&latency, 0, sizeof latency);
    for (int i = 0; i < count; i++) all[i].frames = 0;
    began = now_us();
    cpu_began = cpu_seconds();
}

static void no_longer_opening(void) {
    opening--;
    start_more();
    if (ready + refused == count) {
        opened_us = now_us();
        report("ready");
        start_over();
    }
}

static void lose(Viewer *v) {
    int was = v->state;
    close(v->fd);
    v->fd = -1;
    v->state = DEAD;
    if (was == OPEN) { dropped++; return; }
    refused++;
    if (v->status >= 300) bad_status = (uint64_t)v->status;
    no_longer_opening();
}

/* Every payload's time in text[0..length), and what may be the first half of one in v->carry. */
static void scan(Viewer *v, const char *text, size_t length, uint64_t now) {
    const char *at = text, *end = text + length, *after;
    uint64_t sent;
    while ((sent = marked(at, (size_t)(end - at), TIME_MARK, TIME_DIGITS, &after)) > 0) {
        note(&latency, sent, now);
        v->frames++;
        frames++;
        last_frame = now;
        at = after;
    }
    size_t rest = (size_t)(end - at), keep = sizeof TIME_MARK - 1 + TIME_DIGITS - 1;
    if (rest > keep) at = end - keep, rest = keep;
    memmove(v->carry, at, rest);
    v->carried = (unsigned char)rest;
}

static void take_text(Viewer *v, char *data, size_t length, uint64_t now) {
    /* The caller leaves CARRY bytes free before data. */
    memcpy(data - v->carried, v->carry, v->carried);
    scan(v, data - v->carried, length + v->carried, now);
}

static void pong(Viewer *v) {
    unsigned char frame[132] = {0x8a, (unsigned char)(0x80 | v->ping_length)};  /* masked with zeros */
    memcpy(frame + 6, v->ping, v->ping_length);
    if (send(v->fd, frame, 6u + v->ping_length, MSG_NOSIGNAL) < 0) {}
}

/* Frames of a server: not masked. Payloads of text go to take_text piece by piece. */
static void take_frames(Viewer *v, char *data, size_t length, uint64_t now) {
    for (size_t i = 0; i < length;) {
        if (v->left) {
            size_t part = length - i < v->left ? length - i : v->left;
            if (v->opcode == 1) {
                char saved[CARRY];
                memcpy(saved, data + i - CARRY, CARRY);  /* the carry goes before the piece: put back what stood there */
                take_text(v, data + i, part, now);
                memcpy(data + i - CARRY, saved, CARRY);
            } else if (v->opcode == 9 && v->ping_length + part <= 125) {
                memcpy(v->ping + v->ping_length, data + i, part);
                v->ping_length = (unsigned char)(v->ping_length + part);
            }
            i += part;
            v->left -= part;
            if (!v->left && v->opcode == 9) pong(v);
            continue;
        }
        v->ws[v->ws_length++] = (unsigned char)data[i++];
        unsigned need = v->ws_length < 2 ? 2 : v->ws[1] == 126 ? 4 : v->ws[1] == 127 ? 10 : 2;
        if (v->ws_length < need) continue;
        v->opcode = v->ws[0] & 15;
        v->left = 0;
        if (need == 2) v->left = v->ws[1];
        else for (unsigned k = 2; k < need; k++) v->left = v->left << 8 | v->ws[k];
        v->ws_length = 0;
        v->ping_length = 0;
        if (v->opcode == 1) v->carried = 0;
        if (v->opcode == 9 && !v->left) pong(v);
    }
}

static void take_head(Viewer *v, char *data, size_t length, uint64_t now) {
    if (!v->head) v->head = malloc(HEAD_MAX);
    size_t before = v->head_length, room = HEAD_MAX - 1 - before, part = length < room ? length : room;
    memcpy(v->head + before, data, part);
    v->head_length += part;
    v->head[v->head_length] = 0;
    char *end = strstr(v->head, "\r\n\r\n");
    if (!end) return;
    size_t used = (size_t)(end - v->head) + 4 - before;
    v->status = atoi(v->head + 9);
    free(v->head);
    v->head = NULL;
    if (v->status != (websocket ? 101 : 200)) { lose(v); return; }
    v->state = OPEN;
    ready++;
    no_longer_opening();
    if (length > used) {
        if (websocket) take_frames(v, data + used, length - used, now);
        else take_text(v, data + used, length - used, now);
    }
}

static void ask(Viewer *v) {
    char *request = malloc(template_length);
    memcpy(request, template_text, template_length);
    if (has_stream) write_digits(request + stream_at, 8, (first + (uint64_t)(v - all)) % streams);
    ssize_t n = send(v->fd, request, template_length, MSG_NOSIGNAL);
    free(request);
    if (n != (ssize_t)template_length) { lose(v); return; }
    v->state = HEAD;
    watch_fd(epoll_fd, EPOLL_CTL_MOD, v->fd, EPOLLIN, (uint64_t)(v - all) + 1);
}

static void on_event(Viewer *v) {
    static char room[CARRY + 262144];
    char *data = room + CARRY;
    if (v->state == CONNECTING) { ask(v); return; }
    ssize_t n = recv(v->fd, data, sizeof room - CARRY, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { lose(v); return; }
    bytes += (uint64_t)n;
    uint64_t now = now_us();
    if (v->state == HEAD) take_head(v, data, (size_t)n, now);
    else if (websocket) take_frames(v, data, (size_t)n, now);
    else take_text(v, data, (size_t)n, now);
}

static void on_command(void) {
    char line[256];
    ssize_t n = read(0, line, sizeof line);
    if (n <= 0) exit(0);
    int over = !strncmp(line, "report", 6);
    if (over || !strncmp(line, "look", 4)) report("report");
    if (over) start_over();
}

static void read_template(const char *name) {
    FILE *f = fopen(name, "rb");
    if (!f) die(name);
    char *raw = malloc(HEAD_MAX);
    size_t n = fread(raw, 1, HEAD_MAX - 16, f);
    fclose(f);
    char *mark = memmem(raw, n, "@STREAM@", 8);  /* eight characters become eight digits */
    has_stream = mark != NULL;
    stream_at = mark ? (size_t)(mark - raw) : 0;
    template_text = raw;
    template_length = n;
}

int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--port")) port = atoi(value);
        else if (!strcmp(name, "--connections")) count = atoi(value);
        else if (!strcmp(name, "--streams")) streams = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--first")) first = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--pace")) pace = atoi(value);
        else if (!strcmp(name, "--websocket")) websocket = atoi(value);
        else if (!strcmp(name, "--request")) read_template(value);
        else { fprintf(stderr, "unknown option %s\n", name); return 2; }
    }
    if (!port || !template_text) { fprintf(stderr, "--port and --request are required\n"); return 2; }
    allow_many_files();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    all = calloc((size_t)count, sizeof *all);
    watch_fd(epoll_fd, EPOLL_CTL_ADD, 0, EPOLLIN, 0);
    began = now_us();
    cpu_began = cpu_seconds();
    start_more();
    struct epoll_event events[256];
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (!events[i].data.u64) on_command();
            else if (all[events[i].data.u64 - 1].state != DEAD) on_event(&all[events[i].data.u64 - 1]);
        }
    }
}

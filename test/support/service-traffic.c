/*
 * Servers and clients of the Service tests, cheap enough for tens of thousands of connections.
 *
 *   service-traffic serve PORT...      TCP and UDP on every address of the namespace. Each connection or datagram is
 *                                      answered with "ADDRESS:PORT CLIENT", as the server sees both. Prints "ready".
 *   service-traffic ask PARALLEL       Reads "ID tcp|udp SOURCE|- ADDRESS PORT TIMEOUT_MS" lines, runs PARALLEL at once,
 *                                      and prints "ID SENT ANSWER" or "ID SENT ECODE" in any order.
 *
 * Connections end with a reset by the client, so that neither TIME_WAIT nor conntrack entries pile up. Each datagram has a
 * source port of its own, so that no old conntrack entry answers for the rules. SENT is how often the question had to be
 * sent: TCP repeats a SYN after a second, and datagrams are repeated every two, as a resolver would.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct sockaddr_in Address;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static Address address_of(const char *ip, int port) {
  Address address = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (strcmp(ip, "-") != 0 && inet_pton(AF_INET, ip, &address.sin_addr) != 1) fail(ip);
  return address;
}

static int describe(char *text, size_t size, struct in_addr self, int port, const Address *peer) {
  char here[16], there[16];
  inet_ntop(AF_INET, &self, here, sizeof here);
  inet_ntop(AF_INET, &peer->sin_addr, there, sizeof there);
  return snprintf(text, size, "%s:%d %s", here, port, there);
}

/* ---- servers ---- */

enum kind { LISTENER, DATAGRAMS, CONNECTION };

static void watch(int epoll, int fd, enum kind kind, int port) {
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)fd << 32 | (uint64_t)port << 8 | kind};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
}

static void accept_all(int epoll, int listener) {
  Address peer, self;
  socklen_t length = sizeof peer;
  char text[64];
  int fd;
  while ((fd = accept4(listener, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK)) >= 0) {
    socklen_t own = sizeof self;
    getsockname(fd, (struct sockaddr *)&self, &own);
    int count = describe(text, sizeof text, self.sin_addr, ntohs(self.sin_port), &peer);
    if (write(fd, text, count) < 0) close(fd);
    else watch(epoll, fd, CONNECTION, 0);
    length = sizeof peer;
  }
}

static void answer_datagrams(int fd, int port) {
  Address peer;
  char text[64], control[CMSG_SPACE(sizeof(struct in_pktinfo))];
  for (;;) {
    struct iovec data = {text, sizeof text};
    struct msghdr message = {.msg_name = &peer, .msg_namelen = sizeof peer, .msg_iov = &data, .msg_iovlen = 1,
                             .msg_control = control, .msg_controllen = sizeof control};
    if (recvmsg(fd, &message, MSG_DONTWAIT) < 0) return;
    struct in_pktinfo *info = (struct in_pktinfo *)CMSG_DATA(CMSG_FIRSTHDR(&message));
    data.iov_len = describe(text, sizeof text, info->ipi_addr, port, &peer);
    info->ipi_spec_dst = info->ipi_addr;
    info->ipi_ifindex = 0;
    sendmsg(fd, &message, MSG_DONTWAIT);
  }
}

static int bound(int type, int port) {
  int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0), on = 1, bytes = 8 << 20;
  Address address = address_of("-", port);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (type == SOCK_DGRAM) setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
  if (type == SOCK_STREAM && listen(fd, 4096) < 0) fail("listen");
  return fd;
}

static void serve(int count, char **ports) {
  int epoll = epoll_create1(0);
  for (int i = 0; i < count; i++) {
    int port = atoi(ports[i]);
    watch(epoll, bound(SOCK_STREAM, port), LISTENER, port);
    watch(epoll, bound(SOCK_DGRAM, port), DATAGRAMS, port);
  }
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[256];
    int ready = epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.u64 >> 32, port = events[i].data.u64 >> 8 & 0xffff;
      switch (events[i].data.u64 & 0xff) {
        case LISTENER: accept_all(epoll, fd); break;
        case DATAGRAMS: answer_datagrams(fd, port); break;
        case CONNECTION: close(fd); break;
      }
    }
  }
}

/* ---- clients ---- */

struct question {
  int fd, is_udp, sent;
  long id;
  int64_t repeat, deadline;
};

static char input[1 << 16];
static size_t held;
static int at_end;
static const int64_t repeat_after = 2000000;

static void end(struct question *q, const char *answer) {
  struct linger reset = {.l_onoff = 1, .l_linger = 0};
  struct tcp_info info = {0};
  socklen_t length = sizeof info;
  if (!q->is_udp) {
    getsockopt(q->fd, IPPROTO_TCP, TCP_INFO, &info, &length);
    setsockopt(q->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  }
  close(q->fd);
  q->fd = -1;
  printf("%ld %d %s\n", q->id, q->sent + (int)info.tcpi_total_retrans, answer);
}

static void end_with(struct question *q, int error) {
  const char *name = strerrorname_np(error);
  end(q, name == NULL ? "E?" : name);
}

/* EPERM: a rule of this machine dropped it, and perhaps sent an ICMP error, which is the answer then. */
static int send_datagram(struct question *q) {
  q->sent++;
  q->repeat = now() + repeat_after;
  return send(q->fd, "?", 1, 0) < 0 && errno != EPERM ? -1 : 0;
}

static void start(struct question *q, int epoll, int slot, const char *line) {
  char kind[8], source[16], ip[16];
  int port, timeout;
  if (sscanf(line, "%ld %7s %15s %15s %d %d", &q->id, kind, source, ip, &port, &timeout) != 6) fail(line);
  q->is_udp = strcmp(kind, "udp") == 0;
  q->sent = q->is_udp ? 0 : 1;
  q->deadline = now() + timeout * 1000LL;
  q->fd = socket(AF_INET, (q->is_udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK, 0);
  int on = 1;
  if (q->is_udp) {
    static int next_port = 0;
    int tries = 0;
    do {
      Address self = address_of(source, 20000 + next_port++ % 40000);
      if (bind(q->fd, (struct sockaddr *)&self, sizeof self) == 0) break;
    } while (errno == EADDRINUSE && ++tries < 1000);
    if (tries == 1000) return end_with(q, EADDRINUSE);
  } else if (strcmp(source, "-") != 0) {
    Address self = address_of(source, 0);
    setsockopt(q->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(q->fd, (struct sockaddr *)&self, sizeof self) < 0) return end_with(q, errno);
  }
  Address to = address_of(ip, port);
  if (connect(q->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) return end_with(q, errno);
  if (q->is_udp && send_datagram(q) < 0) return end_with(q, errno);
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = slot};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, q->fd, &event) < 0) fail("epoll_ctl");
}

static void finish(struct question *q) {
  char text[64];
  ssize_t count = recv(q->fd, text, sizeof text - 1, MSG_DONTWAIT);
  if (count < 0 && errno == EAGAIN) return;
  if (count < 0) return end_with(q, errno);
  if (count == 0) return end(q, "EMPTY");
  text[count] = 0;
  end(q, text);
}

/* Moves whole lines from stdin into free slots. */
static int fill(struct question *questions, int slots, int busy, int epoll) {
  while (busy < slots) {
    char *newline = memchr(input, '\n', held);
    if (newline == NULL) {
      ssize_t count = at_end ? 0 : read(0, input + held, sizeof input - held);
      if (count == 0) at_end = 1;
      if (count <= 0) return busy;
      held += count;
      continue;
    }
    *newline = 0;
    int slot = 0;
    while (questions[slot].fd >= 0) slot++;
    start(&questions[slot], epoll, slot, input);
    held -= newline + 1 - input;
    memmove(input, newline + 1, held);
    if (questions[slot].fd >= 0) busy++;
  }
  return busy;
}

static void ask(int slots) {
  struct question *questions = calloc(slots, sizeof *questions);
  int epoll = epoll_create1(0), busy = 0;
  for (int i = 0; i < slots; i++) questions[i].fd = -1;
  fcntl(0, F_SETFL, O_NONBLOCK);
  struct epoll_event stdin_event = {.events = EPOLLIN, .data.u64 = slots};
  epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &stdin_event);
  for (;;) {
    busy = fill(questions, slots, busy, epoll);
    fflush(stdout);
    if (at_end && busy == 0) return;
    /* What waits in stdin while all slots are taken must not wake the loop. */
    stdin_event.events = busy < slots && !at_end ? EPOLLIN : 0;
    epoll_ctl(epoll, EPOLL_CTL_MOD, 0, &stdin_event);
    struct epoll_event events[256];
    int ready = epoll_wait(epoll, events, 256, busy == 0 ? -1 : 10);
    for (int i = 0; i < ready; i++)
      if (events[i].data.u64 < (uint64_t)slots && questions[events[i].data.u64].fd >= 0) finish(&questions[events[i].data.u64]);
    int64_t time = now();
    busy = 0;
    for (int i = 0; i < slots; i++) {
      if (questions[i].fd >= 0 && questions[i].deadline <= time) end_with(&questions[i], ETIMEDOUT);
      else if (questions[i].fd >= 0 && questions[i].is_udp && questions[i].repeat <= time && send_datagram(&questions[i]) < 0)
        end_with(&questions[i], errno);
      if (questions[i].fd >= 0) busy++;
    }
  }
}

int main(int argc, char **argv) {
  struct rlimit files = {65536, 65536};
  setrlimit(RLIMIT_NOFILE, &files);
  if (argc > 2 && strcmp(argv[1], "serve") == 0) serve(argc - 2, argv + 2);
  else if (argc == 3 && strcmp(argv[1], "ask") == 0) ask(atoi(argv[2]));
  else return 2;
}

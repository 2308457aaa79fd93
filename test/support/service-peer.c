/*
 * Servers and clients of the Service cases: every protocol in both address families, one question after the other.
 *
 *   service-peer serve PORT...   Answers "SERVER CLIENT" (addresses as the server sees them) on every address of the
 *                                namespace, over TCP, UDP and SCTP, in IPv4 and IPv6. Prints "ready".
 *   service-peer ask PORT        From PORT on, one for each question. Reads "tcp|udp|sctp SOURCE|- ADDRESS PORT TIMEOUT_MS" lines; prints an answer or the name
 *                                of an error for each.
 *
 * Kernels without SCTP sockets still translate and track SCTP: here an INIT is sent through a raw socket, and answered by
 * an INIT ACK that carries the text behind its header.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef union {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
} Address;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static socklen_t size_of(const Address *a) { return a->any.sa_family == AF_INET ? sizeof a->v4 : sizeof a->v6; }

static Address address_of(const char *ip, int port) {
  Address a = {0};
  if (inet_pton(AF_INET, ip, &a.v4.sin_addr) == 1) {
    a.v4.sin_family = AF_INET;
    a.v4.sin_port = htons(port);
  } else if (inet_pton(AF_INET6, ip, &a.v6.sin6_addr) == 1) {
    a.v6.sin6_family = AF_INET6;
    a.v6.sin6_port = htons(port);
  } else
    fail(ip);
  return a;
}

static const char *text_of(const Address *a, char *text) {
  const void *bytes = a->any.sa_family == AF_INET ? (const void *)&a->v4.sin_addr : (const void *)&a->v6.sin6_addr;
  return inet_ntop(a->any.sa_family, bytes, text, INET6_ADDRSTRLEN);
}

static int describe(char *answer, const Address *self, const Address *peer) {
  char here[INET6_ADDRSTRLEN], there[INET6_ADDRSTRLEN];
  return sprintf(answer, "%s %s", text_of(self, here), text_of(peer, there));
}

/* ---- SCTP by hand ---- */

struct sctp {
  uint16_t source, destination;
  uint32_t tag, checksum;
  uint8_t type, flags;
  uint16_t length;
  uint32_t init_tag, window;
  uint16_t out, in;
  uint32_t tsn;
  /* A parameter that receivers skip (RFC 9260, 3.2.1: highest bits 10). */
  uint16_t parameter, parameter_length;
  char text[112];
} __attribute__((packed));

static uint32_t crc32c(const uint8_t *bytes, size_t count) {
  uint32_t crc = ~0u;
  while (count--) {
    crc ^= *bytes++;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc;
}

static struct sctp sctp_packet(int type, uint16_t source, uint16_t destination, uint32_t tag, const char *text) {
  struct sctp p = {.source = source, .destination = destination, .tag = tag, .type = type};
  p.length = htons(sizeof p - 12);
  p.init_tag = htonl(0x1234);
  p.window = htonl(65535);
  p.out = p.in = htons(1);
  p.tsn = htonl(1);
  p.parameter = htons(0x8042);
  p.parameter_length = htons(sizeof p.text + 4);
  strncpy(p.text, text, sizeof p.text - 1);
  p.checksum = crc32c((const uint8_t *)&p, sizeof p);
  return p;
}

/* IPv4 raw sockets read the IP header too. */
static int sctp_of(const char *packet, ssize_t count, int family, struct sctp *p) {
  int skip = family == AF_INET ? (packet[0] & 15) * 4 : 0;
  if (count < skip + (ssize_t)sizeof *p) return 0;
  memcpy(p, packet + skip, sizeof *p);
  p->text[sizeof p->text - 1] = 0;
  return 1;
}

/* ---- servers ---- */

static int bound(int family, int type, int protocol, int port) {
  int fd = socket(family, type, protocol), on = 1;
  if (fd < 0) fail("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (type != SOCK_STREAM) {
    if (family == AF_INET) setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
    else setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
  }
  Address a = address_of(family == AF_INET ? "0.0.0.0" : "::", type == SOCK_RAW ? 0 : port);
  if (bind(fd, &a.any, size_of(&a)) < 0) fail("bind");
  if (type == SOCK_STREAM && listen(fd, 128) < 0) fail("listen");
  return fd;
}

static void accept_one(int listener) {
  Address self, peer;
  socklen_t length = sizeof peer, own = sizeof self;
  int fd = accept(listener, &peer.any, &length);
  if (fd < 0) return;
  getsockname(fd, &self.any, &own);
  char answer[128];
  int count = describe(answer, &self, &peer);
  if (write(fd, answer, count) < 0) perror("write");
  close(fd);
}

/* A datagram or an INIT, answered from the address that it was for. */
static void answer_one(int fd, int family, int is_sctp) {
  char packet[2048], control[256], answer[128];
  Address peer, self = {0};
  struct iovec data = {packet, sizeof packet};
  struct msghdr message = {.msg_name = &peer, .msg_namelen = sizeof peer, .msg_iov = &data, .msg_iovlen = 1,
                           .msg_control = control, .msg_controllen = sizeof control};
  ssize_t count = recvmsg(fd, &message, 0);
  if (count < 0) return;
  self.any.sa_family = family;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
    if (family == AF_INET && c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo *info = (struct in_pktinfo *)CMSG_DATA(c);
      self.v4.sin_addr = info->ipi_addr;
      info->ipi_spec_dst = info->ipi_addr;
      info->ipi_ifindex = 0;
    } else if (family == AF_INET6 && c->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo *info = (struct in6_pktinfo *)CMSG_DATA(c);
      self.v6.sin6_addr = info->ipi6_addr;
      info->ipi6_ifindex = 0;
    }
  }
  data.iov_base = answer;
  data.iov_len = describe(answer, &self, &peer);
  struct sctp question, reply;
  if (is_sctp) {
    if (!sctp_of(packet, count, family, &question) || question.type != 1) return;
    reply = sctp_packet(2, question.destination, question.source, question.init_tag, answer);
    data.iov_base = &reply;
    data.iov_len = sizeof reply;
    if (family == AF_INET6) peer.v6.sin6_port = 0;
  }
  sendmsg(fd, &message, 0);
}

static void serve(int count, char **ports) {
  struct pollfd fds[64];
  struct { int family, kind; } of[64];
  int used = 0;
  for (int f = 0; f < 2; f++) {
    int family = f == 0 ? AF_INET : AF_INET6;
    for (int i = 0; i < count; i++)
      for (int kind = 0; kind < 2; kind++) {
        fds[used] = (struct pollfd){bound(family, kind == 0 ? SOCK_STREAM : SOCK_DGRAM, 0, atoi(ports[i])), POLLIN, 0};
        of[used].family = family;
        of[used++].kind = kind;
      }
    fds[used] = (struct pollfd){bound(family, SOCK_RAW, IPPROTO_SCTP, 0), POLLIN, 0};
    of[used].family = family;
    of[used++].kind = 2;
  }
  puts("ready");
  fflush(stdout);
  for (;;) {
    poll(fds, used, -1);
    for (int i = 0; i < used; i++) {
      if (!(fds[i].revents & POLLIN)) continue;
      if (of[i].kind == 0) accept_one(fds[i].fd);
      else answer_one(fds[i].fd, of[i].family, of[i].kind == 2);
    }
  }
}

/* ---- clients ---- */

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static const char *error_name(int error) {
  if (error == EINPROGRESS || error == EAGAIN) error = ETIMEDOUT;
  const char *name = strerrorname_np(error);
  return name == NULL ? "E?" : name;
}

static int next_port;

static void ask_one(const char *kind, const char *source, const char *ip, int port, int timeout) {
  int is_sctp = strcmp(kind, "sctp") == 0, is_tcp = strcmp(kind, "tcp") == 0, on = 1;
  Address to = address_of(ip, is_sctp ? 0 : port);
  int family = to.any.sa_family;
  int fd = is_sctp ? socket(family, SOCK_RAW, IPPROTO_SCTP) : socket(family, is_tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
  if (fd < 0) fail("socket");
  struct timeval limit = {timeout / 1000, timeout % 1000 * 1000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  int own_port = next_port++;
  if (strcmp(source, "-") != 0 || !is_sctp) {
    Address self = address_of(strcmp(source, "-") != 0 ? source : family == AF_INET ? "0.0.0.0" : "::",
                              is_sctp ? 0 : own_port);
    if (bind(fd, &self.any, size_of(&self)) < 0) fail("bind");
  }
  char packet[2048];
  ssize_t count = -1;
  int64_t end = now() + timeout;
  if (connect(fd, &to.any, size_of(&to)) == 0) {
    if (is_tcp)
      count = recv(fd, packet, sizeof packet - 1, 0);
    else {
      struct sctp init = sctp_packet(1, htons(own_port), htons(port), 0, "?");
      if (send(fd, &init, is_sctp ? sizeof init : 1, 0) >= 0 || errno == EPERM)
        count = recv(fd, packet, sizeof packet - 1, 0);
      struct sctp reply;
      /* A raw socket sees the answers to earlier questions, too. */
      while (is_sctp && count > 0) {
        if (sctp_of(packet, count, family, &reply) && reply.type == 2 && reply.destination == htons(own_port)) {
          strcpy(packet, reply.text);
          count = strlen(packet);
          break;
        }
        errno = ETIMEDOUT;
        count = now() < end ? recv(fd, packet, sizeof packet - 1, 0) : -1;
      }
    }
  }
  if (count > 0) printf("%.*s\n", (int)count, packet);
  else printf("%s\n", count == 0 ? "EMPTY" : error_name(errno));
  fflush(stdout);
  close(fd);
}

static void ask(int first_port) {
  char line[256], kind[8], source[64], ip[64];
  int port, timeout;
  next_port = first_port;
  while (fgets(line, sizeof line, stdin) != NULL) {
    if (sscanf(line, "%7s %63s %63s %d %d", kind, source, ip, &port, &timeout) != 5) fail(line);
    ask_one(kind, source, ip, port, timeout);
  }
}

int main(int argc, char **argv) {
  if (argc > 2 && strcmp(argv[1], "serve") == 0) serve(argc - 2, argv + 2);
  else if (argc == 3 && strcmp(argv[1], "ask") == 0) ask(atoi(argv[2]));
  else return 2;
}

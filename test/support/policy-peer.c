/*
 * A host for tests of network policies: sends first packets of connections with any source address, and says which such
 * packets arrive. Layer: test. No listener is needed, so that a forbidden connection costs no waiting.
 *
 *   policy-peer <link>
 *   stdin:   <id> tcp|udp|sctp[+<shape>] <source> <destination> <source port> <destination port>    sends one
 *            shapes: f two fragments; of IPv6 also d a header of destination options, h of hop-by-hop options, a a
 *            fragment that is the whole, s fragments of which the second has the transport header
 *            go <count>                        sends that very packet so many times each millisecond, until "stop"
 *            .                                 answers "." when all before it was sent
 *   stdout:  <id>                              one arrived here
 *
 * The id travels as TCP sequence number, SCTP initiation tag or UDP payload.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static uint32_t sum(uint32_t total, const void *data, int length) {
  const uint8_t *bytes = data;
  for (int i = 0; i + 1 < length; i += 2) total += bytes[i] << 8 | bytes[i + 1];
  if (length & 1) total += bytes[length - 1] << 8;
  return total;
}

static uint16_t folded(uint32_t total) {
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  return htons(~total & 0xffff);
}

static uint32_t crc32c(const uint8_t *bytes, int length) {
  uint32_t crc = ~0u;
  for (int i = 0; i < length; i++) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc;
}

static void put32(uint8_t *at, uint32_t value) {
  value = htonl(value);
  memcpy(at, &value, 4);
}

static void put16(uint8_t *at, uint16_t value) {
  at[0] = value >> 8;
  at[1] = value;
}

/* Returns the length of the transport packet; addresses are for its checksum. */
static int transport(uint8_t *p, int protocol, uint32_t id, int sport, int dport, const void *from, const void *to, int bytes) {
  /* Enough for two fragments, of which the first has the id. */
  int length = protocol == IPPROTO_TCP ? 32 : protocol == IPPROTO_UDP ? 20 : 32;
  memset(p, 0, length);
  put16(p, sport);
  put16(p + 2, dport);
  if (protocol == IPPROTO_SCTP) {
    /* INIT: type, flags, length, tag, window, streams out and in, first TSN. */
    p[12] = 1;
    put16(p + 14, 20);
    put32(p + 16, id);
    put32(p + 20, 65536);
    put16(p + 24, 1);
    put16(p + 26, 1);
    put32(p + 28, 1);
    uint32_t crc = crc32c(p, length);
    memcpy(p + 8, &crc, 4);
    return length;
  }
  int check = 6;
  if (protocol == IPPROTO_TCP) {
    put32(p + 4, id);
    p[12] = 5 << 4;
    p[13] = 2;
    put16(p + 14, 64240);
    check = 16;
  } else {
    put16(p + 4, length);
    put32(p + 8, id);
  }
  uint32_t total = sum(sum(protocol + length, from, bytes), to, bytes);
  uint16_t checksum = folded(sum(total, p, length));
  if (checksum == 0 && protocol == IPPROTO_UDP) checksum = 0xffff;
  memcpy(p + check, &checksum, 2);
  return length;
}

static int raw4, raw6;
/*
 * Length of the first of two fragments: has the id of the protocol in it, and divides by 8. Of TCP it has the whole header:
 * otherwise conntrack lets the fragments of IPv6 pass as invalid (ipv6frag_thdr_truncated), and no Service translates them.
 */
static int first_part(int protocol) {
  return protocol == IPPROTO_UDP ? 16 : 24;
}

static void emit(int raw, const uint8_t *packet, int length, const void *to, socklen_t size) {
  if (sendto(raw, packet, length, 0, to, size) != length && errno != ENOBUFS) fail("sendto");
}

/* The header before the transport header at `at`, as the shape has it. Returns its length, or 0. */
static int extension(uint8_t *at, char shape, int next, uint32_t id, int offset, int more) {
  if (shape == 0) return 0;
  at[0] = next;
  if (shape == 'd' || shape == 'h') {
    /* Six bytes of padding. */
    at[2] = 1;
    at[3] = 4;
  } else {
    put16(at + 2, offset | more);
    put32(at + 4, id);
  }
  return 8;
}

static void send_six(uint8_t *packet, char shape, int protocol, const uint8_t *body, int length, uint32_t id, const struct sockaddr_in6 *to) {
  int numbers[] = {['d'] = IPPROTO_DSTOPTS, ['h'] = IPPROTO_HOPOPTS, ['a'] = IPPROTO_FRAGMENT, ['f'] = IPPROTO_FRAGMENT, ['s'] = IPPROTO_FRAGMENT};
  uint8_t whole[128] = {0};
  int next = protocol, size = 0;
  if (shape == 's') {
    size = extension(whole, 'd', protocol, id, 0, 0);
    next = IPPROTO_DSTOPTS;
  }
  memcpy(whole + size, body, length);
  size += length;
  int is_split = shape == 'f' || shape == 's', first = shape == 's' ? 8 : first_part(protocol);
  packet[6] = shape == 0 ? protocol : numbers[(int)shape];
  for (int at = 0; at < size;) {
    int part = is_split && at == 0 ? first : size - at;
    memset(packet + 40, 0, 8);
    int before = extension(packet + 40, shape, next, id, at, at + part < size);
    memcpy(packet + 40 + before, whole + at, part);
    put16(packet + 4, before + part);
    emit(raw6, packet, 40 + before + part, to, sizeof *to);
    at += part;
  }
}

static void send_one(uint32_t id, const char *kind, const char *source, const char *destination, int sport, int dport) {
  int protocol = strncmp(kind, "tcp", 3) == 0 ? IPPROTO_TCP : strncmp(kind, "udp", 3) == 0 ? IPPROTO_UDP : IPPROTO_SCTP;
  const char *plus = strchr(kind, '+');
  char shape = plus == NULL ? 0 : plus[1];
  uint8_t packet[192] = {0}, body[64];
  if (strchr(destination, ':') == NULL) {
    struct sockaddr_in to = {.sin_family = AF_INET};
    if (inet_pton(AF_INET, source, packet + 12) != 1 || inet_pton(AF_INET, destination, packet + 16) != 1) fail(source);
    memcpy(&to.sin_addr, packet + 16, 4);
    packet[0] = 0x45;
    packet[8] = 64;
    packet[9] = protocol;
    int length = transport(body, protocol, id, sport, dport, packet + 12, packet + 16, 4);
    /* The kernel would take another than 0 for its own. */
    if (shape == 'f') put16(packet + 4, id % 65535 + 1);
    for (int at = 0; at < length;) {
      int part = shape == 'f' && at == 0 ? first_part(protocol) : length - at;
      put16(packet + 6, at / 8 | (at + part < length ? 0x2000 : 0));
      put16(packet + 2, 20 + part);
      memcpy(packet + 20, body + at, part);
      emit(raw4, packet, 20 + part, &to, sizeof to);
      at += part;
    }
  } else {
    struct sockaddr_in6 to = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET6, source, packet + 8) != 1 || inet_pton(AF_INET6, destination, packet + 24) != 1) fail(source);
    memcpy(&to.sin6_addr, packet + 24, 16);
    packet[0] = 0x60;
    packet[7] = 64;
    int length = transport(body, protocol, id, sport, dport, packet + 8, packet + 24, 16);
    send_six(packet, shape, protocol, body, length, id, &to);
  }
}

/* Tells of what came in over the link and carries an id. */
static void hear(int sniffer) {
  uint8_t p[2048];
  struct sockaddr_ll from;
  socklen_t size = sizeof from;
  ssize_t length = recvfrom(sniffer, p, sizeof p, MSG_DONTWAIT, (struct sockaddr *)&from, &size);
  if (length < 32 || from.sll_pkttype == PACKET_OUTGOING) return;
  int is6 = p[0] >> 4 == 6, protocol = is6 ? p[6] : p[9];
  uint8_t *t = p + (is6 ? 40 : (p[0] & 15) * 4);
  uint32_t id;
  /* Of fragments the first has the id. */
  if (!is6 && (p[6] & 0x1f || p[7])) return;
  while (is6 && (protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_FRAGMENT)) {
    if (protocol == IPPROTO_FRAGMENT && (t[2] || t[3] & 0xf8)) return;
    protocol = t[0];
    t += 8;
    if (t + 16 > p + length) return;
  }
  if (protocol == IPPROTO_TCP && t[13] == 2) memcpy(&id, t + 4, 4);
  else if (protocol == IPPROTO_UDP && t[4] == 0 && t[5] == 20) memcpy(&id, t + 8, 4);
  else if (protocol == IPPROTO_SCTP && t + 20 <= p + length && t[12] == 1) memcpy(&id, t + 16, 4);
  else return;
  printf("%u\n", ntohl(id));
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  int on = 1;
  raw4 = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  raw6 = socket(AF_INET6, SOCK_RAW, IPPROTO_RAW);
  int sniffer = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_ALL));
  struct sockaddr_ll link = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
  link.sll_ifindex = if_nametoindex(argv[1]);
  int megabytes = 8 << 20;
  setsockopt(raw4, IPPROTO_IP, IP_HDRINCL, &on, sizeof on);
  setsockopt(sniffer, SOL_SOCKET, SO_RCVBUFFORCE, &megabytes, sizeof megabytes);
  if (bind(sniffer, (struct sockaddr *)&link, sizeof link) < 0) fail("bind");
  setvbuf(stdout, NULL, _IONBF, 0);
  puts("ready");
  static char input[1 << 16];
  size_t have = 0;
  char kind[8] = "", source[64] = "", destination[64];
  unsigned id = 0;
  int sport = 0, dport = 0, flood = 0, flood_port = 1024;
  for (;;) {
    struct pollfd fds[2] = {{0, POLLIN, 0}, {sniffer, POLLIN, 0}};
    poll(fds, 2, flood ? 1 : -1);
    while (fds[1].revents & POLLIN) {
      hear(sniffer);
      fds[1].revents = 0;
      poll(fds + 1, 1, 0);
    }
    for (int i = 0; i < flood; i++) {
      send_one(id, kind, source, destination, flood_port, dport);
      if (++flood_port > 65000) flood_port = 1024;
    }
    if (!(fds[0].revents & (POLLIN | POLLHUP))) continue;
    ssize_t count = read(0, input + have, sizeof input - have - 1);
    if (count <= 0) return 0;
    have += count;
    input[have] = 0;
    char *line = input, *end;
    for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
      *end = 0;
      if (strcmp(line, ".") == 0) puts(".");
      else if (strcmp(line, "stop") == 0) flood = 0;
      else if (sscanf(line, "go %d", &flood) == 1) continue;
      else if (sscanf(line, "%u %7s %63s %63s %d %d", &id, kind, source, destination, &sport, &dport) == 6)
        send_one(id, kind, source, destination, sport, dport);
      else fail(line);
    }
    have = strlen(line);
    memmove(input, line, have + 1);
  }
}

/*
 * A name server for a cluster under test: answers A queries for the names of its arguments, over UDP and TCP on port 53.
 * Arguments are NAME=IPV4; a NAME that begins with `tcp` is answered in full over TCP only, truncated over UDP, as a long
 * answer would be. Other types of a known name get an empty answer, other names NXDOMAIN. Ends on SIGTERM.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { header = 12, max_message = 512, max_name = 254 };

static char **zone;

static void end(int number) { (void)number; _exit(0); }

/* The question's name with dots; the offset behind it, or 0 when the message is none. */
static size_t read_name(const uint8_t *message, size_t length, char *name) {
  size_t at = header, written = 0;
  while (at < length && message[at] != 0) {
    size_t label = message[at++];
    if (label > 63 || at + label >= length || written + label + 2 > max_name) return 0;
    if (written > 0) name[written++] = '.';
    memcpy(name + written, message + at, label);
    written += label;
    at += label;
  }
  name[written] = 0;
  return at < length ? at + 1 : 0;
}

static const char *address_of(const char *name) {
  size_t length = strlen(name);
  for (char **entry = zone; *entry != NULL; entry++) {
    if (strncasecmp(*entry, name, length) == 0 && (*entry)[length] == '=') return *entry + length + 1;
  }
  return NULL;
}

/* Turns a query into its answer, in place; the length, or 0 to stay silent. `message` has room for 16 bytes more. */
static size_t answer(uint8_t *message, size_t length, int over_tcp) {
  char name[max_name];
  size_t question_end = length < header ? 0 : read_name(message, length, name);
  if (question_end == 0 || question_end + 4 > length || (message[2] & 0x80) != 0) return 0;
  int is_a = memcmp(message + question_end, "\0\1\0\1", 4) == 0;
  const char *address = address_of(name);
  size_t end = question_end + 4;
  message[2] = 0x84 | (message[2] & 1);                 /* QR, AA; RD as asked */
  message[3] = address == NULL ? 3 : 0;                 /* NXDOMAIN */
  memcpy(message + 4, "\0\1\0\0\0\0\0\0", 8);           /* one question, no records (also no OPT) */
  if (address == NULL || !is_a) return end;
  if (!over_tcp && strncasecmp(name, "tcp", 3) == 0) {
    message[2] |= 2;                                    /* TC */
    return end;
  }
  message[7] = 1;
  memcpy(message + end, "\300\014\0\1\0\1\0\0\0\5\0\4", 12); /* pointer to the name, A, IN, TTL 5 s, 4 bytes */
  inet_pton(AF_INET, address, message + end + 12);
  return end + 16;
}

static void serve_udp(int socket_fd) {
  uint8_t message[max_message + 16];
  struct sockaddr_in peer;
  socklen_t size = sizeof peer;
  ssize_t length = recvfrom(socket_fd, message, max_message, 0, (struct sockaddr *)&peer, &size);
  size_t out = length <= 0 ? 0 : answer(message, (size_t)length, 0);
  if (out > 0) sendto(socket_fd, message, out, 0, (struct sockaddr *)&peer, size);
}

static int read_all(int fd, uint8_t *buffer, size_t length) {
  for (size_t done = 0; done < length;) {
    ssize_t count = read(fd, buffer + done, length - done);
    if (count <= 0) return -1;
    done += (size_t)count;
  }
  return 0;
}

/* All queries of one connection: glibc sends those for A and AAAA together. Others wait meanwhile. */
static void serve_tcp(int listener) {
  int fd = accept(listener, NULL, NULL);
  if (fd < 0) return;
  struct timeval patience = {.tv_sec = 1};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  uint8_t message[2 + max_message + 16];
  while (read_all(fd, message, 2) == 0) {
    size_t length = (size_t)(message[0] << 8 | message[1]);
    if (length > max_message || read_all(fd, message + 2, length) < 0) break;
    size_t out = answer(message + 2, length, 1);
    message[0] = (uint8_t)(out >> 8);
    message[1] = (uint8_t)out;
    if (out == 0 || write(fd, message, out + 2) < 0) break;
  }
  close(fd);
}

static int open_socket(int type) {
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(53)};
  int fd = socket(AF_INET, type, 0), on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) < 0 || (type == SOCK_STREAM && listen(fd, 64) < 0)) {
    perror("dns-server: port 53");
    exit(1);
  }
  return fd;
}

int main(int count, char **arguments) {
  (void)count;
  zone = arguments + 1;
  /* As process 1 of its namespace it has no default action. */
  struct sigaction on_end = {.sa_handler = end}, ignore = {.sa_handler = SIG_IGN};
  sigaction(SIGTERM, &on_end, NULL);
  sigaction(SIGPIPE, &ignore, NULL);
  struct pollfd sockets[] = {{open_socket(SOCK_DGRAM), POLLIN, 0}, {open_socket(SOCK_STREAM), POLLIN, 0}};
  for (;;) {
    if (poll(sockets, 2, -1) < 0) continue;
    if (sockets[0].revents != 0) serve_udp(sockets[0].fd);
    if (sockets[1].revents != 0) serve_tcp(sockets[1].fd);
  }
}

/*
 * The daemon's face: hands the CNI variables and stdin to the daemon's socket and prints what it answers.
 *
 * Request: one JSON object on one line, {"env":{"CNI_...":"..."},"stdin":"..."}, then the sending half is closed.
 * Answer: one line {"exit":0} or {"exit":1}, then until the end the bytes for stdout. src/network/cni has the other end.
 */
#define _GNU_SOURCE
#include "cni.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static const char default_socket[] = "/run/keelson/cni.sock";

enum { ANSWER_LIMIT = 1024 * 1024 };
static char answer[ANSWER_LIMIT + 1];

/* The request is streamed through this, so its size does not matter. */
struct stream {
  int fd;
  size_t used;
  bool failed;
  char bytes[8192];
};

/* Waits until the socket is ready for `events` or time is up. */
static bool wait_for(int fd, short events) {
  struct pollfd one = {fd, events, 0};
  int ready;
  do {
    ready = poll(&one, 1, milliseconds_left());
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) errno = ETIMEDOUT;
  return ready > 0;
}

static void flush(struct stream *out) {
  size_t sent = 0;
  while (!out->failed && sent < out->used) {
    ssize_t step = wait_for(out->fd, POLLOUT) ? send(out->fd, out->bytes + sent, out->used - sent, MSG_NOSIGNAL | MSG_DONTWAIT) : -1;
    if (step < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (step < 0) out->failed = true;
    else sent += (size_t)step;
  }
  out->used = 0;
}

static void put(struct stream *out, const char *bytes, size_t length) {
  for (size_t at = 0; at < length; at++) {
    if (out->used == sizeof out->bytes) flush(out);
    out->bytes[out->used++] = bytes[at];
  }
}

static void put_text(struct stream *out, const char *text) { put(out, text, strlen(text)); }

static void put_escaped(struct stream *out, const char *text, size_t size) {
  for (size_t at = 0; at < size;) {
    char escaped[6];
    size_t consumed;
    size_t length = json_escape_step((const unsigned char *)text + at, size - at, escaped, &consumed);
    put(out, escaped, length);
    at += consumed;
  }
}

static bool send_request(int fd) {
  static const char *const variables[] = {"CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"};
  static struct stream out;
  out.fd = fd;
  put_text(&out, "{\"env\":{");
  const char *separator = "\"";
  for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
    const char *value = getenv(variables[i]);
    if (value == NULL) continue;
    put_text(&out, separator);
    put_text(&out, variables[i]);
    put_text(&out, "\":\"");
    put_escaped(&out, value, strlen(value));
    separator = "\",\"";
  }
  put_text(&out, "\"},\"stdin\":\"");
  put_escaped(&out, conf.text, conf.length);
  put_text(&out, "\"}\n");
  flush(&out);
  return !out.failed && shutdown(fd, SHUT_WR) == 0;
}

/* Returns the size of the answer, or -1. */
static ssize_t read_answer(int fd) {
  size_t size = 0;
  for (;;) {
    if (!wait_for(fd, POLLIN)) return -1;
    ssize_t got = recv(fd, answer + size, sizeof answer - size, MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) return -1;
    if (got == 0) return (ssize_t)size;
    size += (size_t)got;
    if (size > ANSWER_LIMIT) {
      errno = EMSGSIZE;
      return -1;
    }
  }
}

/* Reads the first line; sets *rest to what follows. Returns the exit status or -1 for anything that is not ours. */
static int exit_status(size_t size, size_t *rest) {
  const char *end = memchr(answer, '\n', size);
  const char *value;
  size_t length;
  if (end == NULL || !json_find(answer, (size_t)(end - answer), "exit", &value, &length) || length != 1) return -1;
  *rest = (size_t)(end - answer) + 1;
  return value[0] == '0' ? 0 : value[0] == '1' ? 1 : -1;
}

/*
 * The daemon cannot be asked. DEL succeeds all the same: the end of the namespace removes the veth, and the daemon
 * reconciles addresses when it starts; failing would keep every pod of a node in Terminating meanwhile.
 */
static int unreachable(const char *command, const char *message, const char *details) {
  if (strcmp(command, "DEL") == 0) return 0;
  /* STATUS has a code of its own for a plugin that cannot serve. */
  return cni_error(strcmp(command, "STATUS") == 0 ? CNI_NOT_AVAILABLE : CNI_TRY_AGAIN_LATER, message, details);
}

int relay_main(const char *command) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const char *raw;
  size_t length;
  strcpy(address.sun_path, default_socket);
  if (!json_is_object(conf.text, conf.length))
    return cni_error(CNI_DECODE_FAILURE, "keelson: the network configuration on stdin is not a JSON object", NULL);
  if (json_find(conf.text, conf.length, "keelsonSocket", &raw, &length) &&
      (!json_string(raw, length, address.sun_path, sizeof address.sun_path) || address.sun_path[0] != '/'))
    return cni_error(CNI_INVALID_CONFIG, "keelson: keelsonSocket must be an absolute path of at most 107 ASCII characters", NULL);

  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return cni_error(CNI_IO_FAILURE, "keelson: no socket", strerror(errno));
  /* connect waits when the daemon's backlog is full, but not for ever. */
  int left = milliseconds_left();
  struct timeval limit = {left / 1000, (left % 1000) * 1000 + 1};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
    return unreachable(command, "keelson: the daemon is not reachable; is keelson running?", strerror(errno));

  /* A daemon that refuses early may have answered already, so a failed send is judged by what can be read. */
  bool sent = send_request(fd);
  int send_error = errno;
  ssize_t size = read_answer(fd);
  if (size < 0 && (errno == ETIMEDOUT || errno == EMSGSIZE))
    return cni_error(CNI_TRY_AGAIN_LATER, "keelson: the daemon did not answer properly", strerror(errno));
  if (size <= 0)
    return unreachable(command, "keelson: the daemon closed the connection without an answer",
                       !sent ? strerror(send_error) : size < 0 ? strerror(errno) : NULL);
  size_t rest = 0;
  int status = exit_status((size_t)size, &rest);
  if (status < 0) return cni_error(CNI_TRY_AGAIN_LATER, "keelson: the answer of the daemon is not understood", NULL);
  return print_bytes(answer + rest, (size_t)size - rest) ? status : 1;
}

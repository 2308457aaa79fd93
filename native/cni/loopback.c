/*
 * `loopback`: containerd runs it for every sandbox besides the network's own plugin. Brings lo up; the kernel then gives
 * it 127.0.0.1/8 (and ::1/128 where the namespace has IPv6).
 */
#define _GNU_SOURCE
#include "cni.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int enter(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return -1;
  int status = setns(fd, CLONE_NEWNET);
  int number = errno;
  close(fd);
  errno = number;
  return status;
}

/* Sets or clears IFF_UP of lo (`change`), or only reads it; returns whether it is up, or -1 with errno. */
static int lo_up(bool change, bool up) {
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strcpy(request.ifr_name, "lo");
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  int status = ioctl(fd, SIOCGIFFLAGS, &request);
  if (status == 0 && change && ((request.ifr_flags & IFF_UP) != 0) != up) {
    request.ifr_flags ^= IFF_UP;
    status = ioctl(fd, SIOCSIFFLAGS, &request);
  }
  int number = errno;
  close(fd);
  errno = number;
  return status != 0 ? -1 : (request.ifr_flags & IFF_UP) != 0;
}

static bool has_ipv6(void) {
  int fd = open("/proc/thread-self/net/if_inet6", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char first;
  bool some = read(fd, &first, 1) == 1; /* lo is the first to have an address, and the only link so early */
  close(fd);
  return some;
}

static bool print_piece(const char *text) { return print_bytes(text, strlen(text)); }

static int print_result(const char *netns) {
  const char *previous;
  size_t length;
  /* As last of a chain a plugin hands on what came before it. */
  if (json_find(conf.text, conf.length, "prevResult", &previous, &length) && previous[0] == '{')
    return print_bytes(previous, length) && print_bytes("\n", 1) ? 0 : 1;
  const char *version = cni_version();
  bool old = version[0] == '0'; /* results before 1.0.0 name the address family */
  char piece[512];
  bool done = true;
  snprintf(piece, sizeof piece, "{\"cniVersion\":\"%s\",\"interfaces\":[{\"name\":\"lo\",\"mac\":\"00:00:00:00:00:00\",\"sandbox\":\"", version);
  done = done && print_piece(piece);
  for (size_t at = 0, size = strlen(netns); at < size;) {
    char out[6];
    size_t consumed;
    size_t written = json_escape_step((const unsigned char *)netns + at, size - at, out, &consumed);
    done = done && print_bytes(out, written);
    at += consumed;
  }
  snprintf(piece, sizeof piece, "\"}],\"ips\":[{%s\"address\":\"127.0.0.1/8\",\"interface\":0}%s%s%s],\"dns\":{}}\n",
           old ? "\"version\":\"4\"," : "", has_ipv6() ? ",{" : "", has_ipv6() && old ? "\"version\":\"6\"," : "",
           has_ipv6() ? "\"address\":\"::1/128\",\"interface\":0}" : "");
  done = done && print_piece(piece);
  return done ? 0 : 1;
}

int loopback_main(const char *command) {
  const char *netns = getenv("CNI_NETNS");
  if (strcmp(command, "STATUS") == 0 || strcmp(command, "GC") == 0) return 0;
  if (!json_is_object(conf.text, conf.length))
    return cni_error(CNI_DECODE_FAILURE, "loopback: the network configuration on stdin is not a JSON object", NULL);
  if (!cni_version_known())
    return cni_error(CNI_INCOMPATIBLE_VERSION, "loopback: cniVersion must be 0.3.0, 0.3.1, 0.4.0, 1.0.0 or 1.1.0", NULL);
  if (strcmp(command, "DEL") == 0) {
    /* Idempotent: a namespace that is gone took its lo along. */
    if (netns != NULL && netns[0] != '\0' && enter(netns) == 0) lo_up(true, false);
    return 0;
  }
  if (enter(netns) != 0) {
    return errno == ENOENT
               ? cni_error(CNI_UNKNOWN_CONTAINER, "loopback: the network namespace of CNI_NETNS does not exist", NULL)
               : cni_error(CNI_IO_FAILURE, "loopback: cannot enter the network namespace of CNI_NETNS", strerror(errno));
  }
  bool add = strcmp(command, "ADD") == 0;
  int up = lo_up(add, true);
  if (up < 0) return cni_error(CNI_IO_FAILURE, "loopback: cannot read or change the state of lo", strerror(errno));
  if (up == 0) return cni_error(CNI_IO_FAILURE, "loopback: lo is down", NULL);
  return add ? print_result(netns) : 0;
}

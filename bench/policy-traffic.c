/* What bench/policy.ts sends through rules: `serve PORT`, `rate IP PORT COUNT` (connections), `stream IP PORT MIB`. Both print
   how many a second, and the processor time of this process in seconds, in which most of the packets' way through the rules
   is: unlike the first it hardly depends on what else the machine does. Layer: bench. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char block[1 << 18];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int tcp(const char *ip, int port, struct sockaddr_in *address) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  memset(address, 0, sizeof *address);
  address->sin_family = AF_INET;
  address->sin_port = htons(port);
  inet_pton(AF_INET, ip, &address->sin_addr);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  return fd;
}

static int reach(const char *ip, int port) {
  struct sockaddr_in address;
  int fd = tcp(ip, port, &address);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
  return fd;
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_IGN);
  if (argc == 3) {
    struct sockaddr_in address;
    int listener = tcp("0.0.0.0", atoi(argv[2]), &address);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1024) < 0) fail("listen");
    puts("ready");
    fflush(stdout);
    for (;;) {
      int fd = accept(listener, NULL, NULL);
      /* A connection that only counts ends at once, by its client. */
      while (read(fd, block, sizeof block) > 0) {}
      close(fd);
    }
  }
  if (argc != 5) return 2;
  int count = atoi(argv[4]);
  double start = now();
  if (strcmp(argv[1], "rate") == 0) {
    struct linger reset = {1, 0};
    for (int i = 0; i < count; i++) {
      int fd = reach(argv[2], atoi(argv[3]));
      setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      close(fd);
    }
  } else {
    int fd = reach(argv[2], atoi(argv[3]));
    for (int sent = 0; sent < count * 4; sent++)
      for (size_t at = 0; at < sizeof block;) {
        ssize_t n = write(fd, block + at, sizeof block - at);
        if (n <= 0) fail("write");
        at += n;
      }
    shutdown(fd, SHUT_WR);
    if (read(fd, block, 1) < 0) fail("read");
  }
  double end = now();
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  double used = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  printf("%.1f %.6f\n", count / (end - start), used);
}

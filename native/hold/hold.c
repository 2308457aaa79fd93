/*
 * keelson-hold: keeps a connection (descriptor 3) open for a while after the daemon that made it died, so that the calls
 * under way on it come to their own end; see src/kernel/hold-connection.ts for the reason.
 *
 * The daemon tells on stdin whether calls are under way: 'b' busy, 'i' idle. End of stdin means that the daemon is gone:
 * idle, there is nothing to wait for; busy, the descriptor is kept for argv[1] seconds, or until the other end hangs up.
 * It never reads from or writes to the connection.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTION = 3 };

static long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(int argc, char **argv) {
  long seconds = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
  if (seconds < 0 || seconds > 3600) return 2;
  signal(SIGPIPE, SIG_IGN);
  bool busy = false;
  for (;;) {
    char marks[64];
    ssize_t got = read(STDIN_FILENO, marks, sizeof marks);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    busy = marks[got - 1] == 'b';
  }
  for (long end = now_ms() + seconds * 1000, left; busy && (left = end - now_ms()) > 0;) {
    /* Without POLLIN: what the runtime answers is nobody's business any more. POLLHUP is always reported. */
    struct pollfd connection = {CONNECTION, POLLRDHUP, 0};
    if (poll(&connection, 1, (int)left) > 0) break;
  }
  return 0;
}

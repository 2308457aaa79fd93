/*
 * Entry: which face, VERSION, the environment that the specification demands, stdin and stdout.
 */
#define _GNU_SOURCE
#include "cni.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct conf conf;

static struct timespec started;

int milliseconds_left(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  long passed = (now.tv_sec - started.tv_sec) * 1000 + (now.tv_nsec - started.tv_nsec) / 1000000;
  long left = TIMEOUT_SECONDS * 1000L - passed;
  return left > 0 ? (int)left : 0;
}

bool print_bytes(const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t written = write(STDOUT_FILENO, bytes, length);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes += written;
    length -= (size_t)written;
  }
  return true;
}

static const char *conf_version(void) {
  static char version[16];
  const char *raw;
  size_t length;
  if (json_find(conf.text, conf.length, "cniVersion", &raw, &length) && json_string(raw, length, version, sizeof version) &&
      version[0] != '\0' && version[strspn(version, "0123456789.")] == '\0')
    return version;
  return NULL;
}

const char *cni_version(void) {
  const char *version = conf_version();
  return version != NULL ? version : "1.1.0";
}

bool cni_version_known(void) {
  static const char *const known[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
  const char *version = conf_version();
  for (size_t i = 0; version != NULL && i < sizeof known / sizeof *known; i++)
    if (strcmp(version, known[i]) == 0) return true;
  return false;
}

int cni_error(enum cni_code code, const char *message, const char *details) {
  char text[1024];
  int length = snprintf(text, sizeof text, "{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s\"%s%s%s}\n", cni_version(), (int)code,
                        message, details ? ",\"details\":\"" : "", details ? details : "", details ? "\"" : "");
  if (length > 0 && (size_t)length < sizeof text) print_bytes(text, (size_t)length);
  return 1;
}

int read_conf(void) {
  for (;;) {
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    int ready = poll(&input, 1, milliseconds_left());
    if (ready == 0) return cni_error(CNI_IO_FAILURE, "keelson: no end of the network configuration on stdin", NULL);
    ssize_t got = read(STDIN_FILENO, conf.text + conf.length, sizeof conf.text - conf.length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return cni_error(CNI_IO_FAILURE, "keelson: cannot read the network configuration", strerror(errno));
    if (got == 0) return 0;
    conf.length += (size_t)got;
    if (conf.length > STDIN_LIMIT) {
      conf.length = 0; /* so that the version in the error does not come from half a document */
      return cni_error(CNI_DECODE_FAILURE, "keelson: network configuration larger than 1 MiB", NULL);
    }
  }
}

/* Specification section 2, parameters: which verb needs which variable. */
static int check_environment(const char *command) {
  static const struct {
    const char *name;
    const char *verbs;
  } required[] = {
      {"CNI_CONTAINERID", " ADD DEL CHECK "},
      {"CNI_NETNS", " ADD CHECK "},
      {"CNI_IFNAME", " ADD DEL CHECK "},
  };
  char verb[16], missing[128] = "";
  snprintf(verb, sizeof verb, " %s ", command);
  for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
    const char *value = getenv(required[i].name);
    if (strstr(required[i].verbs, verb) == NULL || (value != NULL && value[0] != '\0')) continue;
    if (missing[0] != '\0') strcat(missing, ", ");
    strcat(missing, required[i].name);
  }
  if (missing[0] == '\0') return 0;
  char message[256];
  snprintf(message, sizeof message, "keelson: required environment variables missing: %s", missing);
  return cni_error(CNI_INVALID_ENVIRONMENT, message, NULL);
}

int main(int argc, char **argv) {
  clock_gettime(CLOCK_MONOTONIC, &started);
  const char *name = argc > 0 && argv[0] != NULL ? argv[0] : "keelson";
  const char *slash = strrchr(name, '/');
  if (slash != NULL) name = slash + 1;

  const char *command = getenv("CNI_COMMAND");
  if (command == NULL || command[0] == '\0') {
    return cni_error(CNI_INVALID_ENVIRONMENT,
                     "keelson: CNI_COMMAND is not set; this program is a CNI plugin, run by a container runtime", NULL);
  }
  if (strcmp(command, "VERSION") == 0) {
    /* Specification section 3: the version asked in. Whoever types the command by hand asks in none. */
    if (!isatty(STDIN_FILENO) && read_conf() != 0) return 1;
    char answer[128];
    int length = snprintf(answer, sizeof answer,
                          "{\"cniVersion\":\"%s\",\"supportedVersions\":[\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n",
                          cni_version());
    return print_bytes(answer, (size_t)length) ? 0 : 1;
  }
  static const char *const known[] = {"ADD", "DEL", "CHECK", "STATUS", "GC"};
  bool found = false;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) found |= strcmp(command, known[i]) == 0;
  if (!found) return cni_error(CNI_INVALID_ENVIRONMENT, "keelson: CNI_COMMAND is none of ADD, DEL, CHECK, STATUS, GC, VERSION", NULL);

  int status = check_environment(command);
  if (status != 0) return status;
  status = read_conf();
  if (status != 0) return status;
  return strcmp(name, "loopback") == 0 ? loopback_main(command) : relay_main(command);
}

// ICMPv6 of the tests that no installed program is needed for. Test only.
//   icmpv6 ping ADDRESS          one echo request (RFC 4443); exit 0 when the answer comes within two seconds
//   icmpv6 advertise LINK PREFIX router advertisements (RFC 4861, section 4.2) by the link until killed: a default route and
//                                a prefix of /64 such as 2001:db8:7::
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static int ping(const char *address) {
  int fd = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
  struct sockaddr_in6 to = {.sin6_family = AF_INET6};
  if (fd < 0 || inet_pton(AF_INET6, address, &to.sin6_addr) != 1) return 2;
  struct icmp6_filter only;
  ICMP6_FILTER_SETBLOCKALL(&only);
  ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &only);
  setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &only, sizeof only);
  struct timeval patience = {.tv_sec = 2};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  struct icmp6_hdr request = {.icmp6_type = ICMP6_ECHO_REQUEST, .icmp6_id = (uint16_t)getpid()};
  if (sendto(fd, &request, sizeof request, 0, (struct sockaddr *)&to, sizeof to) < 0) return 1;
  struct icmp6_hdr answer;
  while (recv(fd, &answer, sizeof answer, 0) >= (ssize_t)sizeof answer)
    if (answer.icmp6_id == request.icmp6_id) return 0;
  return 1;
}

static int advertise(const char *link, const char *prefix) {
  int fd = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
  int hops = 255;
  unsigned index = if_nametoindex(link);
  if (fd < 0 || index == 0) return 2;
  setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops);
  setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index);
  struct {
    struct nd_router_advert head;
    struct nd_opt_prefix_info prefix;
  } message;
  memset(&message, 0, sizeof message);
  message.head.nd_ra_type = ND_ROUTER_ADVERT;
  message.head.nd_ra_router_lifetime = htons(1800);
  message.prefix.nd_opt_pi_type = ND_OPT_PREFIX_INFORMATION;
  message.prefix.nd_opt_pi_len = 4;
  message.prefix.nd_opt_pi_prefix_len = 64;
  message.prefix.nd_opt_pi_flags_reserved = ND_OPT_PI_FLAG_ONLINK | ND_OPT_PI_FLAG_AUTO;
  message.prefix.nd_opt_pi_valid_time = htonl(3600);
  message.prefix.nd_opt_pi_preferred_time = htonl(3600);
  if (inet_pton(AF_INET6, prefix, &message.prefix.nd_opt_pi_prefix) != 1) return 2;
  struct sockaddr_in6 all = {.sin6_family = AF_INET6, .sin6_scope_id = index};
  inet_pton(AF_INET6, "ff02::1", &all.sin6_addr);
  for (;;) {
    if (sendto(fd, &message, sizeof message, 0, (struct sockaddr *)&all, sizeof all) > 0) {
      puts("sent");
      fflush(stdout);
    }
    usleep(200 * 1000);
  }
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "ping") == 0) return ping(argv[2]);
  if (argc == 4 && strcmp(argv[1], "advertise") == 0) return advertise(argv[2], argv[3]);
  return 2;
}

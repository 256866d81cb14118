/* The least that a fan-out can cost: one send() for each socket and tick. Speaks as lml_live/bench/orders.py says:
   {"port":N} first, then {} for each {"type":"send",…} once its ticks are over. Ends with its stdin. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { SOCKETS_MAX = 65536, FRAME_MAX = 65536 };
static int sockets[SOCKETS_MAX];
static char frame[FRAME_MAX];

static int frame_of(int size) {
  int header = size < 128 ? 2 : 4, length = size > header ? size - header : 0;
  memset(frame, ' ', sizeof frame);
  frame[0] = (char)0x81;
  if (header == 2) {
    frame[1] = (char)length;
  } else {
    frame[1] = 126;
    frame[2] = (char)(length >> 8);
    frame[3] = (char)length;
  }
  return header + length;
}

int main(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), count = 0, on = 1;
  char line[256];
  if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096)) return 1;
  if (getsockname(listener, (struct sockaddr *)&address, &length)) return 1;
  printf("{\"port\":%d}\n", ntohs(address.sin_port));
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    int ticks, tick_ms, size, fd;
    if (sscanf(line, "{\"type\":\"send\",\"ticks\":%d,\"tick_ms\":%d,\"frame_bytes\":%d}", &ticks, &tick_ms, &size) != 3)
      return 2;
    if (size > FRAME_MAX) size = FRAME_MAX;
    while (count < SOCKETS_MAX && (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      sockets[count++] = fd;
    }
    size = frame_of(size);
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (int tick = 0; tick < ticks; tick++) {
      for (int i = 0; i < count; i++) send(sockets[i], frame, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
      next.tv_nsec += tick_ms * 1000000L;
      next.tv_sec += next.tv_nsec / 1000000000L;
      next.tv_nsec %= 1000000000L;
      while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL) == EINTR) {
      }
    }
    printf("{}\n");
    fflush(stdout);
  }
  return 0;
}

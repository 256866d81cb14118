/* One frame to many sockets: what `crowd.py` otherwise does with a `transport.write` for each. Plain C without Python's
   headers, so that one build serves every Python; called through ctypes, which lets go of the GIL meanwhile.

   `send_frame` offers `frame` to each of the `count` sockets in order and never waits. Negative ones are passed over.
   Where a socket did not take all of it, its place in `fds` and the number of bytes that it took (0 also for an error:
   the next write of its owner meets that again, and ends the connection as ever) are put into `rest`, which has room
   for 2 * count numbers. Answers how many such sockets there are. */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>

int send_frame(const int *fds, int count, const char *frame, size_t length, int *rest) {
  int missed = 0;
  for (int i = 0; i < count; i++) {
    ssize_t sent;
    if (fds[i] < 0) continue;
    do {
      sent = send(fds[i], frame, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent == (ssize_t)length) continue;
    rest[2 * missed] = i;
    rest[2 * missed + 1] = sent < 0 ? 0 : (int)sent;
    missed++;
  }
  return missed;
}

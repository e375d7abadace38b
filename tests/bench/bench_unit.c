/* SPDX-License-Identifier: MIT */
/*
 * The program under supervision in the benchmarks: tells a socket when it was
 * executed, then answers CMS's echo on 127.0.0.1, so that a supervisor that asks
 * sees it running: on port 26000 + shard if it was called as CMS's services are
 * (`-c CONTEST` behind the shard), else on 36000 + shard. Its own cost is the same
 * under every supervisor. Its socket is the file "socket" beside the program.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int tell(const char *program, const char *shard)
{
	struct timespec now;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *slash = strrchr(program, '/');
	char text[128];

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%.*s/socket",
		       slash ? (int)(slash - program) : 1, slash ? program : ".");
	(void)snprintf(text, sizeof(text), "%s %d %lld.%09ld", shard, (int)getpid(),
		       (long long)now.tv_sec, now.tv_nsec);
	const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	const ssize_t n = sendto(fd, text, strlen(text), 0, (const struct sockaddr *)&address,
				 sizeof(address));

	(void)close(fd);
	return n < 0 ? -1 : 0;
}

/* The JSON string behind `key`, with its quotes; our own supervisor's requests are simple. */
static int find_string(const char *line, const char *key, char *ret, size_t size)
{
	const char *at = strstr(line, key);
	const char *begin = at ? strchr(at + strlen(key), '"') : NULL;
	const char *end = begin ? strchr(begin + 1, '"') : NULL;

	if (!end || (size_t)(end - begin + 2) > size)
		return -1;
	memcpy(ret, begin, (size_t)(end - begin + 1));
	ret[end - begin + 1] = '\0';
	return 0;
}

static void serve(int fd)
{
	char line[4096];
	char id[256];
	char text[1024];
	char reply[2048];

	for (;;) {
		const ssize_t n = read(fd, line, sizeof(line) - 1);
		if (n <= 0)
			return;
		line[n] = '\0';
		if (find_string(line, "\"__id\":", id, sizeof(id)) < 0 ||
		    find_string(line, "\"string\":", text, sizeof(text)) < 0)
			return;
		const int len =
			snprintf(reply, sizeof(reply),
				 "{\"__id\": %s, \"__data\": %s, \"__error\": null}\r\n", id, text);

		if (write(fd, reply, (size_t)len) != len)
			return;
	}
}

int main(int argc, char *argv[])
{
	const char *shard = argc > 1 ? argv[1] : "0";

	if (tell(argv[0], shard) < 0)
		return 1;
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int on = 1;

	address.sin_port = htons((uint16_t)((argc > 2 ? 26000 : 36000) + strtol(shard, NULL, 10)));
	(void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 4) < 0)
		return 1;
	for (;;) {
		const int fd = accept(listener, NULL, NULL);
		if (fd < 0)
			continue;
		serve(fd);
		(void)close(fd);
	}
}

/* SPDX-License-Identifier: MIT */
/*
 * The floor for a supervisor: N copies of a program, each started again by
 * fork and exec as soon as its pidfd says that it ended. Nothing else.
 * bench_bare N PROGRAM
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fcntl.h>

#define MAX 256

static int pidfds[MAX];

static void start(int epoll, int i, char *program)
{
	char number[12];
	char *argv[] = { program, number, NULL };

	(void)snprintf(number, sizeof(number), "%d", i);
	const pid_t pid = fork();
	if (pid == 0) {
		(void)setsid();
		(void)execv(program, argv);
		_exit(127);
	}
	pidfds[i] = (int)syscall(SYS_pidfd_open, pid, 0);
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = (unsigned int)i };

	(void)fcntl(pidfds[i], F_SETFD, FD_CLOEXEC);
	(void)epoll_ctl(epoll, EPOLL_CTL_ADD, pidfds[i], &event);
}

int main(int argc, char *argv[])
{
	if (argc != 3)
		return 2;
	const int n = (int)strtol(argv[1], NULL, 10);
	const int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (n < 1 || n > MAX)
		return 2;
	for (int i = 0; i < n; i++)
		start(epoll, i, argv[2]);
	for (;;) {
		struct epoll_event event;

		if (epoll_wait(epoll, &event, 1, -1) != 1)
			continue;
		const int i = (int)event.data.u32;
		siginfo_t info;

		(void)waitid(P_PIDFD, (id_t)pidfds[i], &info, WEXITED);
		(void)close(pidfds[i]);
		start(epoll, i, argv[2]);
	}
}

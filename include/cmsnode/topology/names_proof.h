/* SPDX-License-Identifier: MIT */
/*
 * The proof that the service user's programs can resolve the names: this very
 * program is executed again as that user and calls getaddrinfo() for each. Only
 * what happens there counts: nsswitch.conf, the mode of the hosts file, a sandbox.
 */
#ifndef CMSNODE_TOPOLOGY_NAMES_PROOF_H
#define CMSNODE_TOPOLOGY_NAMES_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct ev_loop;
struct err;
struct names;
struct names_proof;

struct names_proof_spec {
	const char *hosts_file;	/* where the names were written; for the message */
	bool drop_user;		/* become uid, gid and groups, named `user` */
	const char *user;
	uid_t uid;
	gid_t gid;
	const gid_t *groups;
	size_t groups_len;
};

/*
 * To be called first in main(): if the program was started as the proof's child, does
 * the child's work and returns its exit status; else -1.
 */
int names_proof_main(int argc, char **argv);

/*
 * Starts the child; on_proved follows once, from the loop: err->code 0, or
 * ERR_CONFIG and which name does not resolve as whom, why that may be
 * (nsswitch, permissions, another file) and that --names off remains; other
 * codes when the proof itself failed (no answer within 20 s). Of many names 16
 * are asked for, the first and the last among them; one whose address has
 * changed since the start is refused, too. All is borrowed during the call only.
 * NULL and err if there is no process. on_proved may free the proof.
 */
struct names_proof *names_proof_start(struct ev_loop *loop, const struct names_proof_spec *spec,
				      const struct names *names,
				      void (*on_proved)(void *ctx, const struct err *err),
				      void *ctx, struct err *err);

/* For reaper_new(): the child is waited for here. -1 = none. */
pid_t names_proof_pid(const struct names_proof *proof);

void names_proof_free(struct names_proof *proof);	/* ends the child; NULL is fine */

#endif

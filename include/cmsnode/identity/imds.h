/* SPDX-License-Identifier: MIT */
/*
 * The EC2 instance id of this machine: from DMI, or from EC2's instance metadata
 * service in its second version (a token first). Blocks, so it is for the start
 * only, before the loop runs.
 */
#ifndef CMSNODE_IDENTITY_IMDS_H
#define CMSNODE_IDENTITY_IMDS_H

#include <stdbool.h>

#define IMDS_URL "http://169.254.169.254"
#define IMDS_LIMIT_MS 1000	/* for the whole conversation */

struct imds_answer {
	char instance_id[40];	/* "" = none */
	char why[200];		/* phrase: where it is from, or why there is none */
};

/* i-[0-9a-f]{8,32} */
bool imds_is_instance_id(const char *text);

/*
 * Is this machine on EC2, and which instance is it? The arguments are those of
 * machine_facts. The service is asked only if the vendor is Amazon EC2 and the
 * asset tag is not an instance id: elsewhere that address may be anybody's. Never
 * fails: no answer is one, too. Takes at most IMDS_LIMIT_MS.
 */
void imds_instance_id(const char *sys_vendor, const char *board_asset_tag,
		      struct imds_answer *ret);

/* The conversation alone, with the service at `url`, at most `limit_ms` long. */
void imds_ask(const char *url, long limit_ms, struct imds_answer *ret);

#endif

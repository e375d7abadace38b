/* SPDX-License-Identifier: MIT */
/*
 * Who this node is: gathers the facts, asks identity.c, keeps the state file and
 * the address that was claimed last. Blocking (files, EC2's metadata service for
 * at most 1 s): only at start, and when a clone takes a new id.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cmsnode/base/buf.h"
#include "cmsnode/base/err.h"
#include "cmsnode/base/log.h"
#include "cmsnode/base/mem.h"
#include "cmsnode/base/file.h"
#include "cmsnode/daemon/options.h"
#include "cmsnode/identity/identity_file.h"
#include "cmsnode/identity/imds.h"
#include "cmsnode/network/netlink.h"
#include "node_internal.h"

#define ADDRESS_FILE_MAX 256

static void fill_question(const struct node *node, const struct identity_record *saved,
			  const struct str_list *macs, struct identity_question *ret)
{
	const bool usable = node->facts.machine_id_usable && node->facts.machine_id[0];

	*ret = (struct identity_question){ .option = node->options->node_id,
					   .instance = node->options->instance,
					   .saved = saved,
					   .product_uuid = node->facts.product_uuid,
					   .macs = macs,
					   .machine_id = usable ? node->facts.machine_id : NULL,
					   .machine_id_why = node->facts.machine_id_why };
	(void)!getrandom(ret->random, sizeof(ret->random), 0);
}

static void read_last_address(struct node *node)
{
	CLEAN(str) char *path = xasprintf("%s/last-address", node->options->state_dir);
	CLEAN(buf) struct buf text = BUF_INIT(ADDRESS_FILE_MAX);
	CLEAN(str_list) struct str_list lines = { 0 };
	struct address address;
	char canonical[ADDRESS_TEXT_SIZE];

	/* A hint only: absent or damaged is as never written. */
	if (file_read(path, &text, NULL) < 0)
		return;
	str_list_split(&lines, buf_str(&text), '\n');
	if (lines.len != 1 || address_parse(lines.items[0], &address) < 0)
		return;
	address_format(&address, canonical);
	free(node->last_address);
	node->last_address = xstrdup(canonical);
}

void node_remember_address(struct node *node)
{
	if (!node->self.address[0] || str_eq(node->last_address, node->self.address))
		return;
	CLEAN(str) char *path = xasprintf("%s/last-address", node->options->state_dir);
	CLEAN(str) char *text = xasprintf("%s\n", node->self.address);
	CLEAN(fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		log_warning("identity", "%s: %s, ignoring", path, strerror(errno));
	free(node->last_address);
	node->last_address = xstrdup(node->self.address);
}

static void keep_record(struct node *node, const struct identity_question *question)
{
	identity_record_fini(&node->record);
	identity_record_make(question, &node->identity, &node->record);
}

int node_identity_decide(struct node *node, struct err *err)
{
	CLEAN(str_list) struct str_list macs = { 0 };
	CLEAN(identity_record) struct identity_record saved = { 0 };
	struct identity_question question;
	struct imds_answer ec2 = { 0 };
	int r = 0;

	machine_facts_macs(netlink_snapshot(node->netlink), &macs);
	if (!node->options->node_id)
		r = identity_file_load(node->options->state_dir, &saved, err);
	if (r < 0)
		return r;
	fill_question(node, &saved, &macs, &question);
	if (!identity_is_settled(&question))
		imds_instance_id(node->facts.sys_vendor, node->facts.board_asset_tag, &ec2);
	question.ec2_instance = ec2.instance_id;
	question.ec2_why = ec2.why;
	r = identity_choose(&question, &node->identity, err);
	if (r < 0)
		return r;
	if (node->identity.cloned)
		log_warning("identity", "%s", node->identity.reason);
	keep_record(node, &question);
	str_list_copy(&node->self.macs, &macs);
	read_last_address(node);
	return 0;
}

int node_identity_save(struct node *node, struct err *err)
{
	if (!node->identity.must_save)
		return 0;
	return identity_file_save(node->options->state_dir, &node->record, err);
}

/* An id that follows from no fact: the facts would give the old one again. */
static int choose_random(struct node *node, struct identity *ret_identity,
			 struct identity_record *ret_record, struct err *err)
{
	const struct identity_record nobody = { 0 };
	struct identity_question question;

	fill_question(node, &nobody, &node->self.macs, &question);
	question.machine_id = NULL;
	question.machine_id_why = "a new id was asked for";
	const int r = identity_choose(&question, ret_identity, err);
	if (r < 0)
		return r;
	identity_record_fini(ret_record);
	identity_record_make(&question, ret_identity, ret_record);
	return identity_file_save(node->options->state_dir, ret_record, err);
}

int node_identity_renew(struct node *node, struct err *err)
{
	return choose_random(node, &node->identity, &node->record, err);
}

int node_identity_reset(struct node *node, struct err *err)
{
	CLEAN(identity_record) struct identity_record record = { 0 };
	struct identity identity;

	return choose_random(node, &identity, &record, err);
}

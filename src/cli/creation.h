/* SPDX-License-Identifier: Apache-2.0 */
/** The options that `run` and `create` share: what a sandbox is to be like. */
#ifndef MSB_CLI_CREATION_H
#define MSB_CLI_CREATION_H

#include "cli/cli.h"
#include "cli/root_disk.h"
#include "cli/units.h"
#include "config/settings.h"
#include "engine/lifecycle.h"

/** What was typed. */
struct creation {
	const char *name;
	uint64_t memory, cpus, upper_size, max_duration, idle_timeout;
	struct string_list env, env_files, rlimits, ca_certs, tmpfs, scripts, script_paths, script_raws, copies,
		copy_files, copy_dirs, mkdirs, removes, labels, init_args, init_env;
	const char *workdir, *user, *hostname, *shell, *entrypoint, *hypervisor, *pull, *root_disk, *security, *init,
		*replace_timeout;
	bool quiet, insecure, replace;
	/* The network; see cli/network.c. */
	struct string_list ports, net_rules, block_domains, block_suffixes, nameservers;
	const char *deployment, *net, *net_default, *net_egress, *net_ingress, *net_pcap;
	const char *rates[RATE_DIRECTIONS][RATE_KINDS], *bursts[RATE_DIRECTIONS][RATE_KINDS];
	uint64_t net_mtu, max_connections, dns_timeout_ms;
	bool no_network, no_net, net_strict, no_rebind_protection;
};
extern struct creation creation;

/* clang-format off */
/* One table for both commands. Those without a help text are known, but not there yet. */
#define CREATION_ROWS \
	{ 'n', "name", "NAME", "name: the sandbox stays until msb rm", OPTION_STRING, &creation.name, 0, 0 }, \
	{ 'm', "memory", "SIZE", "memory of the machine (512M)", \
	  OPTION_SIZE, &creation.memory, 1, UNIT_MEMORY_MIB_MAX }, \
	{ 'c', "cpus", "N", "virtual CPUs (1)", OPTION_NUMBER, &creation.cpus, 1, UNIT_CPUS_MAX }, \
	{ 'e', "env", "KEY=VALUE", "environment variable; KEY alone copies the host's", \
	  OPTION_LIST, &creation.env, 0, 0 }, \
	{ 0, "env-file", "FILE", "environment variables, one KEY=VALUE a line", \
	  OPTION_LIST, &creation.env_files, 0, 0 }, \
	{ 'w', "workdir", "DIR", "working directory in the guest", OPTION_STRING, &creation.workdir, 0, 0 }, \
	{ 'u', "user", "USER", "user in the guest: name, uid, name:group, uid:gid", \
	  OPTION_STRING, &creation.user, 0, 0 }, \
	{ 'H', "hostname", "HOST", "host name of the guest (the sandbox's name)", \
	  OPTION_STRING, &creation.hostname, 0, 0 }, \
	{ 0, "shell", "PROGRAM", "shell when no command is given (/bin/sh)", \
	  OPTION_STRING, &creation.shell, 0, 0 }, \
	{ 0, "entrypoint", "PROGRAM", "replaces the image's ENTRYPOINT", \
	  OPTION_STRING, &creation.entrypoint, 0, 0 }, \
	{ 0, "replace", NULL, "remove a sandbox of the same name first", OPTION_FLAG, &creation.replace, 0, 0 }, \
	{ 0, "replace-with-timeout", "TIME", "the same, with so long to stop (10s)", \
	  OPTION_STRING, &creation.replace_timeout, 0, 0 }, \
	{ 0, "label", "KEY=VALUE", "label, for msb ls --label", OPTION_LIST, &creation.labels, 0, 0 }, \
	{ 0, "max-duration", "TIME", "end the sandbox after 30s, 5m, 1h, whatever runs", \
	  OPTION_DURATION, &creation.max_duration, 1, UINT32_MAX }, \
	{ 0, "idle-timeout", "TIME", "stop it when nothing was run in it for so long", \
	  OPTION_DURATION, &creation.idle_timeout, 1, UINT32_MAX }, \
	{ 0, "tmpfs", "PATH[:SIZE][:OPTS]", "mount a tmpfs; OPTS: ro,noexec,nosuid,nodev,mode=1777", \
	  OPTION_LIST, &creation.tmpfs, 0, 0 }, \
	{ 0, "script", "NAME:FILE|NAME=TEXT", "program NAME in the guest's PATH", \
	  OPTION_LIST, &creation.scripts, 0, 0 }, \
	{ 0, "script-path", "NAME:FILE", NULL, OPTION_LIST, &creation.script_paths, 0, 0 }, \
	{ 0, "script-raw", "NAME=TEXT", NULL, OPTION_LIST, &creation.script_raws, 0, 0 }, \
	{ 0, "copy", "SRC:DST", "copy a file or folder into the sandbox before it starts", \
	  OPTION_LIST, &creation.copies, 0, 0 }, \
	{ 0, "copy-file", "SRC:DST", NULL, OPTION_LIST, &creation.copy_files, 0, 0 }, \
	{ 0, "copy-dir", "SRC:DST", NULL, OPTION_LIST, &creation.copy_dirs, 0, 0 }, \
	{ 0, "mkdir", "PATH", "make a folder in the sandbox before it starts", \
	  OPTION_LIST, &creation.mkdirs, 0, 0 }, \
	{ 0, "rm-path", "PATH", "remove a path in the sandbox before it starts", \
	  OPTION_LIST, &creation.removes, 0, 0 }, \
	{ 0, "rlimit", "NAME=SOFT[:HARD]", "resource limit of the command (nofile=1024)", \
	  OPTION_LIST, &creation.rlimits, 0, 0 }, \
	{ 0, "security", "default|restricted", "restricted: no new privileges, no mounts (default)", \
	  OPTION_STRING, &creation.security, 0, 0 }, \
	{ 0, "init", "PATH", "the guest's first process: a path, or auto", OPTION_STRING, &creation.init, 0, 0 }, \
	{ 0, "init-arg", "WORD", NULL, OPTION_LIST, &creation.init_args, 0, 0 }, \
	{ 0, "init-env", "KEY=VALUE", NULL, OPTION_LIST, &creation.init_env, 0, 0 }, \
	{ 0, "pull", "always|if-missing|never", "fetch the image? (if-missing)", \
	  OPTION_STRING, &creation.pull, 0, 0 }, \
	{ 0, "insecure", NULL, "pull: plain HTTP and unchecked certificates are good enough", \
	  OPTION_FLAG, &creation.insecure, 0, 0 }, \
	{ 0, "ca-certs", "FILE", "pull: trust these certificates (PEM) too", \
	  OPTION_LIST, &creation.ca_certs, 0, 0 }, \
	{ 0, "root-disk", "DISK", "what the sandbox writes to; see below (4G)", \
	  OPTION_STRING, &creation.root_disk, 0, 0 }, \
	{ 0, "oci-upper-size", "SIZE", NULL, \
	  OPTION_SIZE, &creation.upper_size, ROOT_DISK_MIB_MIN, ROOT_DISK_MIB_MAX }, \
	{ 0, "hypervisor", "auto|kvm|qemu", "what runs the machine (auto; MSB_HYPERVISOR)", \
	  OPTION_STRING, &creation.hypervisor, 0, 0 }, \
	{ 'q', "quiet", NULL, "no notes", OPTION_FLAG, &creation.quiet, 0, 0 }, \
	{ 'v', "volume", "SPEC", NULL, OPTION_LATER, NULL, 0, 0 }, \
	{ 0, "secret", "SPEC", NULL, OPTION_LATER, NULL, 0, 0 }, \
	{ 'p', "port", "[BIND:]HOST:GUEST[/PROTO]", "publish a guest's port on the host; BIND: 127.0.0.1, PROTO: tcp", \
	  OPTION_LIST, &creation.ports, 0, 0 }, \
	{ 0, "no-network", NULL, "no network card in the machine", OPTION_FLAG, &creation.no_network, 0, 0 }, \
	{ 0, "net", "GROUPS", "what may be reached: public,private,host or all or none (public)", \
	  OPTION_STRING, &creation.net, 0, 0 }, \
	{ 0, "no-net", NULL, "nothing may be reached, nor reach the guest, but by --net-rule", \
	  OPTION_FLAG, &creation.no_net, 0, 0 }, \
	{ 0, "net-rule", "RULE", "what else may, or may not, be reached; see below", \
	  OPTION_LIST, &creation.net_rules, 0, 0 }, \
	{ 0, "net-default", "allow|deny", "where no rule matches, both ways", \
	  OPTION_STRING, &creation.net_default, 0, 0 }, \
	{ 0, "net-default-egress", "allow|deny", "the same, from the guest (deny)", \
	  OPTION_STRING, &creation.net_egress, 0, 0 }, \
	{ 0, "net-default-ingress", "allow|deny", "the same, to published ports (allow)", \
	  OPTION_STRING, &creation.net_ingress, 0, 0 }, \
	{ 0, "net-strict", NULL, "a name is allowed only where the connection itself says it", \
	  OPTION_FLAG, &creation.net_strict, 0, 0 }, \
	{ 0, "net-mtu", "BYTES", "largest packet, 1280 to 65520 (1500)", \
	  OPTION_NUMBER, &creation.net_mtu, NET_MTU_MIN, NET_MTU_MAX }, \
	{ 0, "net-pcap", "FILE", "record all packets in a file (pcapng)", OPTION_STRING, &creation.net_pcap, 0, 0 }, \
	{ 0, "max-connections", "N", "TCP connections at a time, up to 4096 (256)", \
	  OPTION_NUMBER, &creation.max_connections, 1, NET_CONNECTIONS_MAX }, \
	{ 0, "dns-nameserver", "SERVER", "ask this one, not the host's: IP[:PORT], [IPV6]:PORT, HOST[:PORT]", \
	  OPTION_LIST, &creation.nameservers, 0, 0 }, \
	{ 0, "dns-query-timeout-ms", "MS", "how long to wait for each (5000)", \
	  OPTION_NUMBER, &creation.dns_timeout_ms, 1, NET_DNS_TIMEOUT_MS_MAX }, \
	{ 0, "dns-block-domain", "NAME", "this name does not exist for the guest", \
	  OPTION_LIST, &creation.block_domains, 0, 0 }, \
	{ 0, "dns-block-suffix", "NAME", "neither this name nor any below it", \
	  OPTION_LIST, &creation.block_suffixes, 0, 0 }, \
	{ 0, "no-dns-rebind-protection", NULL, "names may lead to private addresses", \
	  OPTION_FLAG, &creation.no_rebind_protection, 0, 0 }, \
	{ 0, "deployment-profile", "single-tenant|multi-tenant", \
	  "multi-tenant: public addresses only (single-tenant)", OPTION_STRING, &creation.deployment, 0, 0 }, \
	{ 0, "proxy", "URL", NULL, OPTION_LATER, NULL, 0, 0 }, \
	{ 0, "socks4-user-id", "ID", NULL, OPTION_LATER, NULL, 0, 0 }, \
	{ 0, "socks5-username", "NAME", NULL, OPTION_LATER, NULL, 0, 0 }, \
	{ 0, "socks5-password-env", "KEY", NULL, OPTION_LATER, NULL, 0, 0 }, \
	{ 0, "net-ipv4-pool", "CIDR", NULL, OPTION_LATER, NULL, 0, 0 }, \
	{ 0, "net-ipv6-pool", "CIDR", NULL, OPTION_LATER, NULL, 0, 0 }, \
	{ 0, "net-egress-bandwidth", "BYTES[/TIME]", "from the guest: bytes in a second, or in TIME (10M, 1G/1m)", \
	  OPTION_STRING, &creation.rates[RATE_EGRESS][RATE_BYTES], 0, 0 }, \
	{ 0, "net-egress-bandwidth-burst", "BYTES", "once, so much more", \
	  OPTION_STRING, &creation.bursts[RATE_EGRESS][RATE_BYTES], 0, 0 }, \
	{ 0, "net-egress-ops", "N[/TIME]", "the same in packets", \
	  OPTION_STRING, &creation.rates[RATE_EGRESS][RATE_PACKETS], 0, 0 }, \
	{ 0, "net-egress-ops-burst", "N", "once, so much more", \
	  OPTION_STRING, &creation.bursts[RATE_EGRESS][RATE_PACKETS], 0, 0 }, \
	{ 0, "net-ingress-bandwidth", "BYTES[/TIME]", "to the guest: bytes in a second, or in TIME (10M, 1G/1m)", \
	  OPTION_STRING, &creation.rates[RATE_INGRESS][RATE_BYTES], 0, 0 }, \
	{ 0, "net-ingress-bandwidth-burst", "BYTES", "once, so much more", \
	  OPTION_STRING, &creation.bursts[RATE_INGRESS][RATE_BYTES], 0, 0 }, \
	{ 0, "net-ingress-ops", "N[/TIME]", "the same in packets", \
	  OPTION_STRING, &creation.rates[RATE_INGRESS][RATE_PACKETS], 0, 0 }, \
	{ 0, "net-ingress-ops-burst", "N", "once, so much more", \
	  OPTION_STRING, &creation.bursts[RATE_INGRESS][RATE_PACKETS], 0, 0 }

/* clang-format on */

/**
 * creation_spec() - What was typed as a spec, checked as far as that is possible without looking at the image.
 * Return: 0; on failure ERR_USAGE for what the command line alone shows, and other codes.
 */
int creation_spec(const char *image, struct run_spec *spec, struct create_options *how, struct error *err);
/**
 * creation_defaults() - What config.json says where the command line says nothing, into a spec of creation_spec().
 * ERR_USAGE when what was typed does not fit to it.
 */
int creation_defaults(const char *home, struct run_spec *spec, struct error *err);
/** machine_settings() - For every command that starts a machine: config.json, read once. @out: may be NULL; kept */
int machine_settings(const char *home, const struct settings **out, struct error *err);
/** creation_network() - What was typed of the network. ERR_USAGE; @out is for the life of the process. */
int creation_network(struct net_spec *out, struct error *err);
/** creation_network_given() - The first option of the network that was given; NULL: none. */
const char *creation_network_given(void);
/** creation_details - The forms of --root-disk and --net-rule, for help. */
extern const char creation_details[];
/** creation_is_plain() - Was nothing asked for that only a persistent sandbox can do? */
bool creation_is_plain(void);
/** creation_given() - The first option that says what a sandbox is like, for a warning; NULL: none was given. */
const char *creation_given(void);
/** failed_status() - Print an error of run, exec or shell. Return: the exit status that fits. */
int failed_status(const struct error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/initramfs.h"
#include "base/timeline.h"
#include "base/macros.h"
#include "cli/cli.h"

enum group { SANDBOXES, IMAGES, REGISTRIES, HOST, ALIAS, HIDDEN };

static const char *const titles[] = {
	[SANDBOXES] = "Sandboxes",
	[IMAGES] = "Images",
	[REGISTRIES] = "Registries",
	[HOST] = "This host",
};

/* One or two words; an alias is another name that help does not list. Hidden ones are for programs of ours. */
static const struct entry {
	const char *name, *summary;
	enum group group;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "run", "run a command in a fresh virtual machine", SANDBOXES, command_run },
	{ "create", "make a sandbox that stays", SANDBOXES, command_create },
	{ "exec", "run a command in a sandbox", SANDBOXES, command_exec },
	{ "shell", "open a shell in a sandbox", SANDBOXES, command_shell },
	{ "start", "boot stopped sandboxes", SANDBOXES, command_start },
	{ "stop", "shut sandboxes down", SANDBOXES, command_stop },
	{ "restart", "stop and start", SANDBOXES, command_restart },
	{ "rm", "remove sandboxes", SANDBOXES, command_rm },
	{ "ls", "list sandboxes", SANDBOXES, command_ls },
	{ "ps", "show running sandboxes", SANDBOXES, command_ps },
	{ "inspect", "show how a sandbox is configured", SANDBOXES, command_inspect },
	{ "net explain", "say which rule decides on a connection", SANDBOXES, command_net_explain },
	{ "metrics", "show what sandboxes use", SANDBOXES, command_metrics },
	{ "logs", "show what its commands wrote", SANDBOXES, command_logs },
	{ "modify", "change how a sandbox is configured", SANDBOXES, command_modify },
	{ "cp", "copy files between host and sandbox", SANDBOXES, command_cp },
	{ "ping", "ask whether a sandbox answers", SANDBOXES, command_ping },
	{ "touch", "restart its idle timer", SANDBOXES, command_touch },
	{ "mod", "", ALIAS, command_modify },
	{ "copy", "", ALIAS, command_cp },
	{ "remove", "", ALIAS, command_rm },
	{ "list", "", ALIAS, command_ls },
	{ "status", "", ALIAS, command_ps },
	{ "pull", "fetch an image from its registry", IMAGES, command_pull },
	{ "images", "list cached images", IMAGES, command_images },
	{ "rmi", "remove cached images", IMAGES, command_rmi },
	{ "load", "load images from an archive", IMAGES, command_load },
	{ "save", "write images to an archive", IMAGES, command_save },
	{ "image inspect", "show what an image says of itself", IMAGES, command_image_inspect },
	{ "image import", "make an image of a directory or tar", IMAGES, command_image_import },
	{ "image prune", "remove what no image needs", IMAGES, command_image_prune },
	{ "image ls", "same as images", ALIAS, command_images },
	{ "image list", "", ALIAS, command_images },
	{ "image rm", "same as rmi", ALIAS, command_rmi },
	{ "image remove", "", ALIAS, command_rmi },
	{ "image load", "same as load", ALIAS, command_load },
	{ "image save", "same as save", ALIAS, command_save },
	{ "image pull", "same as pull", ALIAS, command_pull },
	{ "registry login", "store credentials for a registry", REGISTRIES, command_registry_login },
	{ "registry logout", "forget them", REGISTRIES, command_registry_logout },
	{ "registry ls", "list registries with credentials", REGISTRIES, command_registry_ls },
	{ "registry list", "", ALIAS, command_registry_ls },
	{ "regs", "", ALIAS, command_registry_ls },
	{ "registries", "", ALIAS, command_registry_ls },
	{ "install", "make a sandbox a command of this host", HOST, command_install },
	{ "uninstall", "remove such commands", HOST, command_uninstall },
	{ "self uninstall", "remove msb itself", HOST, command_self_uninstall },
	{ "self doctor", "same as doctor", ALIAS, command_doctor },
	{ "self check", "", ALIAS, command_doctor },
	{ "doctor", "check this host", HOST, command_doctor },
	{ "system df", "show what takes disk space", HOST, command_system_df },
	{ "system prune", "remove what nobody needs", HOST, command_system_prune },
	{ "completion", "print a completion script", HOST, command_completion },
	{ "__complete", "", HIDDEN, command_complete },
	{ "__tables", "", HIDDEN, command_tables },
};

/* Known, not there yet: a clear answer instead of a wrong guess. */
static const char *const later[] = {
	"volume", "vol", "snapshot", "snap", "ssh", "update",
	"upgrade", "context", "ctx", "build", "push",
};

/** top_help() - Bare msb, --help. */
static int top_help(void)
{
	printf("msb runs commands in microVMs made from OCI images.\n\nUsage: msb COMMAND [OPTIONS]\n");
	for (enum group g = SANDBOXES; g < ALIAS; g++) {
		printf("\n%s:\n", titles[g]);
		for (size_t i = 0; i < ARRAY_LEN(commands); i++)
			if (commands[i].group == g)
				printf("  %-16s %s\n", commands[i].name, commands[i].summary);
	}
	printf("\nOptions:\n  -h, --help     help, also after a command\n  -V, --version  version\n"
	       "  --error --warn --info --debug --trace  how much to log\n\n"
	       "Example:\n  msb run python:3.12 -- python3 -c 'print(1)'\n");
	return 0;
}

/** second_word() - Of a command "FIRST SECOND" whose first word this is, else NULL. */
static const char *second_word(const char *name, const char *first)
{
	size_t n = strlen(first);

	return strncmp(name, first, n) == 0 && name[n] == ' ' ? name + n + 1 : NULL;
}

/** is_group() - Does a command begin with this word and need another? */
static bool is_group(const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (second_word(commands[i].name, word))
			return true;
	return false;
}

/** group_help() - The commands that begin with a word. */
static int group_help(const char *word)
{
	printf("Usage: msb %s COMMAND [OPTIONS]\n\n", word);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (second_word(commands[i].name, word) && commands[i].summary[0])
			printf("  %-16s %s\n", commands[i].name, commands[i].summary);
	return 0;
}

/** open_standard() - Descriptors 0 to 2 exist, so that nothing of ours takes their place. */
static void open_standard(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd)
			_exit(EXIT_MSB_FAILED);
}

/** unknown_second() - "image foo": with the nearest known one. */
static int unknown_second(const char *first, const char *typed)
{
	const char *words[ARRAY_LEN(commands)];
	struct error err = ERROR_INIT;
	const char *near;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (second_word(commands[i].name, first))
			words[n++] = second_word(commands[i].name, first);
	near = nearest(typed, words, n);
	err_set(&err, ERR_USAGE, 0, "unknown command \"%s %.100s\"", first, typed);
	if (near)
		err_hint(&err, "did you mean msb %s %s?", first, near);
	else
		err_hint(&err, "msb %s --help lists the commands", first);
	return usage_error(&err);
}

/** unknown_command() - With the nearest known one. */
static int unknown_command(const char *typed)
{
	const char *names[ARRAY_LEN(commands)];
	struct error err = ERROR_INIT;
	const char *near;

	for (size_t i = 0; i < ARRAY_LEN(later); i++) {
		if (strcmp(typed, later[i]) != 0)
			continue;
		err_set(&err, ERR_USAGE, 0, "msb %s is not available in this version", typed);
		err_hint(&err, "msb --help lists the commands");
		return usage_error(&err);
	}
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		names[i] = commands[i].name;
	near = nearest(typed, names, ARRAY_LEN(names));
	err_set(&err, ERR_USAGE, 0, "unknown %s \"%.100s\"", typed[0] == '-' ? "option" : "command", typed);
	if (near)
		err_hint(&err, "did you mean msb %s?", near);
	else
		err_hint(&err, "msb --help lists the commands");
	return usage_error(&err);
}

/** is() - One of two spellings. */
static bool is(const char *word, const char *a, const char *b)
{
	return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

/** start() - Run a command; its name goes into hints. */
static int start(const struct entry *e, int count, char **args)
{
	set_command(e->name);
	return e->run(count, args);
}

bool command_info(size_t index, struct command_info *out)
{
	char help[] = "--help";
	char *args[] = { help };
	size_t i = 0;

	while (i < ARRAY_LEN(commands) && (commands[i].group == HIDDEN || index--))
		i++;
	if (i == ARRAY_LEN(commands))
		return false;
	*out = (struct command_info){ .name = commands[i].name, .brief = commands[i].summary };
	if (commands[i].group == ALIAS) {
		for (size_t j = 0; j < ARRAY_LEN(commands) && !out->alias_of; j++)
			if (commands[j].run == commands[i].run && commands[j].group != ALIAS)
				out->alias_of = commands[j].name;
	} else {
		out->group = titles[commands[i].group];
	}
	describe_into(out);
	commands[i].run(1, args);
	describe_into(NULL);
	return true;
}

int dispatch(int count, char **args)
{
	char help_word[] = "--help";
	char *help_args[3];
	int words = count > 2 && is_group(args[1]) ? 2 : 1; /* of the command that help is asked for */

	if (count < 1 || is(args[0], "--help", "-h") || (strcmp(args[0], "help") == 0 && count == 1))
		return top_help();
	if (is(args[0], "--version", "-V") || strcmp(args[0], "version") == 0) {
		printf("msb %s\n", MSB_VERSION);
		return 0;
	}
	if (strcmp(args[0], "help") == 0) {
		memcpy(help_args, args + 1, (size_t)words * sizeof(*args));
		help_args[words] = help_word;
		return args[1][0] == '-' ? top_help() : dispatch(words + 1, help_args);
	}
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		const char *second = second_word(commands[i].name, args[0]);

		if (second && count > 1 && strcmp(second, args[1]) == 0)
			return start(&commands[i], count - 2, args + 2);
		if (strcmp(args[0], commands[i].name) == 0)
			return start(&commands[i], count - 1, args + 1);
	}
	if (!is_group(args[0]))
		return unknown_command(args[0]);
	return count < 2 || is(args[1], "--help", "-h") ? group_help(args[0]) : unknown_second(args[0], args[1]);
}

/** finish() - What was printed must have arrived: a full disk is a failure, a reader that left is SIGPIPE's status. */
static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	if (errno == EPIPE)
		return status ? status : 128 + SIGPIPE;
	fprintf(stderr, "error: write to standard output: %s\n", strerror(errno));
	return status ? status : 1;
}

int main(int argc, char **argv)
{
	int first = 1;

	open_standard();
	timeline_open();
	timeline_mark("main");
	sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	/* A parent that ignores it hands that on, and waitpid() would then know no status of any child. */
	sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
	engine_use_agent(agent_initramfs_start, (size_t)(agent_initramfs_end - agent_initramfs_start));
	while (first < argc && strncmp(argv[first], "--", 2) == 0 && log_option(argv[first] + 2))
		first++;
	return finish(dispatch(MAX(0, argc - first), argv + first));
}

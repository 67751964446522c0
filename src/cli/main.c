/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/initramfs.h"
#include "base/log.h"
#include "base/timeline.h"
#include "base/macros.h"
#include "cli/cli.h"

static const struct command commands[] = {
	{ "run", "run a command in a fresh virtual machine", "", command_run },
	{ "load", "load images from an archive", "", command_load },
	{ "images", "list cached images", "", command_images },
	{ "rmi", "remove cached images", "", command_rmi },
	{ "doctor", "check this host", "", command_doctor },
	{ "completion", "print a completion script", "", command_completion },
};

/* Known, not there yet: a clear answer instead of a wrong guess. */
static const char *const later[] = {
	"create", "start", "stop", "restart", "rm", "remove", "exec", "shell", "ls", "list", "ps", "status", "inspect",
	"metrics", "logs", "cp", "copy", "modify", "mod", "ping", "touch", "pull", "save", "registry", "volume", "vol",
	"snapshot", "snap", "ssh", "install", "uninstall", "self", "update", "upgrade", "context", "ctx", "build",
	"push",
};

/** help_group() - A few commands under a heading. */
static void help_group(const char *title, const char *const *names, size_t count)
{
	printf("\n%s:\n", title);
	for (size_t n = 0; n < count; n++)
		for (size_t i = 0; i < ARRAY_LEN(commands); i++)
			if (strcmp(commands[i].name, names[n]) == 0)
				printf("  %-11s %s\n", commands[i].name, commands[i].summary);
}

/** top_help() - Bare msb, --help. */
static int top_help(void)
{
	static const char *const sandboxes[] = { "run" };
	static const char *const images[] = { "load", "images", "rmi" };
	static const char *const host[] = { "doctor", "completion" };

	printf("msb runs commands in microVMs made from OCI images.\n\nUsage: msb COMMAND [OPTIONS]\n");
	help_group("Sandboxes", sandboxes, ARRAY_LEN(sandboxes));
	help_group("Images", images, ARRAY_LEN(images));
	printf("  %-11s %s\n", "image", "the same as ls, rm, load below one name");
	help_group("This host", host, ARRAY_LEN(host));
	printf("\nOptions:\n  -h, --help     help, also after a command\n  -V, --version  version\n"
	       "  --error --warn --info --debug --trace  how much to log\n\n"
	       "Example:\n  msb load -i image.tar -t demo:1\n  msb run demo:1 -- uname -a\n");
	return 0;
}

/** open_standard() - Descriptors 0 to 2 exist, so that nothing of ours takes their place. */
static void open_standard(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd)
			_exit(EXIT_MSB_FAILED);
}

/** image_command() - msb image ls|rm|load and friends. */
static int image_command(int argc, char **argv)
{
	static const char *const words[] = { "ls", "list", "rm", "remove", "load" };
	const char *near = argc ? nearest(argv[0], words, ARRAY_LEN(words)) : NULL;

	if (!argc || strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
		printf("The image commands below one name.\n\nUsage: msb image ls|rm|load [OPTIONS]\n\n"
		       "  ls    msb images\n  rm    msb rmi\n  load  msb load\n");
		return 0;
	}
	if (argc && (strcmp(argv[0], "ls") == 0 || strcmp(argv[0], "list") == 0))
		return command_images(argc - 1, argv + 1);
	if (argc && (strcmp(argv[0], "rm") == 0 || strcmp(argv[0], "remove") == 0))
		return command_rmi(argc - 1, argv + 1);
	if (argc && strcmp(argv[0], "load") == 0)
		return command_load(argc - 1, argv + 1);
	fprintf(stderr, "error: image: expected ls, rm or load\n");
	if (near)
		fprintf(stderr, "  → did you mean msb image %s?\n", near);
	return EXIT_USAGE;
}

/** unknown_command() - With the nearest known one. */
static int unknown_command(const char *typed)
{
	const char *names[ARRAY_LEN(commands)];
	const char *near;
	struct error err = ERROR_INIT;

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

/** dispatch() - The command by its name; args[0] is the name. */
static int dispatch(int count, char **args)
{
	char help_word[] = "--help";
	char *help_args[] = { count > 1 ? args[1] : NULL, help_word };

	if (count < 1 || is(args[0], "--help", "-h") || (strcmp(args[0], "help") == 0 && count == 1))
		return top_help();
	if (is(args[0], "--version", "-V") || strcmp(args[0], "version") == 0) {
		printf("msb %s\n", MSB_VERSION);
		return 0;
	}
	if (strcmp(args[0], "help") == 0)
		return help_args[0][0] == '-' ? top_help() : dispatch(2, help_args);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(args[0], commands[i].name) == 0) {
			set_command(commands[i].name);
			return commands[i].run(count - 1, args + 1);
		}
	if (strcmp(args[0], "image") == 0)
		return image_command(count - 1, args + 1);
	return unknown_command(args[0]);
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
	while (first < argc && strncmp(argv[first], "--", 2) == 0 && log_level_parse(argv[first] + 2) >= 0)
		log_setup((enum log_level)log_level_parse(argv[first++] + 2), STDERR_FILENO, NULL);
	return finish(dispatch(MAX(0, argc - first), argv + first));
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/initramfs.h"
#include "base/macros.h"
#include "cli/cli.h"

static const struct command commands[] = {
	{ "run", "run a command in a fresh virtual machine", "", command_run },
	{ "load", "load images from an archive", "", command_load },
	{ "images", "list cached images", "", command_images },
	{ "rmi", "remove cached images", "", command_rmi },
	{ "doctor", "check this host", "", command_doctor },
};

/** top_help() - Bare msb, --help. */
static int top_help(void)
{
	printf("msb runs commands in microVMs made from OCI images.\n\nUsage: msb COMMAND [OPTIONS]\n\nCommands:\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		printf("  %-10s %s\n", commands[i].name, commands[i].summary);
	printf("\nOptions:\n  -h, --help     help, also after a command\n  -V, --version  version\n\n"
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

int main(int argc, char **argv)
{
	const char *names[ARRAY_LEN(commands)];
	const char *near;

	open_standard();
	sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	engine_use_agent(agent_initramfs_start, (size_t)(agent_initramfs_end - agent_initramfs_start));
	if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
		return top_help();
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "version") == 0) {
		printf("msb %s\n", MSB_VERSION);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		names[i] = commands[i].name;
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 2, argv + 2);
	}
	if (strcmp(argv[1], "image") == 0)
		return image_command(argc - 2, argv + 2);
	near = nearest(argv[1], names, ARRAY_LEN(names));
	fprintf(stderr, "error: unknown command \"%s\"\n", argv[1]);
	if (near)
		fprintf(stderr, "  → did you mean msb %s?\n", near);
	else
		fprintf(stderr, "  → msb --help lists the commands\n");
	return EXIT_USAGE;
}

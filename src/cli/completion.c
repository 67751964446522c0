/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* The words come from the program itself when TAB is pressed, so that they never disagree with its tables. */
static const char bash_script[] =
	"# msb completion for bash: eval \"$(msb completion bash)\"\n"
	"_msb() {\n"
	"	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd=${COMP_WORDS[1]} word words=\n"
	"	COMPREPLY=()\n"
	"	for word in \"${COMP_WORDS[@]:0:COMP_CWORD}\"; do\n"
	"		if [ \"$word\" = -- ]; then COMPREPLY=($(compgen -f -- \"$cur\")); return; fi\n"
	"	done\n"
	"	if [[ $COMP_CWORD -gt 2 && $cmd =~ ^(image|registry|system)$ ]]; then cmd=\"$cmd ${COMP_WORDS[2]}\"; "
	"fi\n"
	"	if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	"		words=$(msb --help 2>/dev/null | sed -n 's/^  \\([a-z]\\{1,\\}\\) .*/\\1/p')\n"
	"	elif [[ $cur == -* ]]; then\n"
	"		words=$(msb $cmd --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]*')\n"
	"	elif [ \"$prev\" = --hypervisor ]; then words='auto kvm qemu'\n"
	"	elif [ \"$prev\" = --pull ]; then words='always if-missing never'\n"
	"	elif [ \"$prev\" = --format ] && [[ $cmd == *save ]]; then words='docker oci'\n"
	"	elif [ \"$prev\" = --format ]; then words=json\n"
	"	elif [ \"$prev\" = --root-disk ] && [[ $cur != [./]* ]]; then words='tmpfs flat'\n"
	"	elif [ \"$prev\" = --root-disk ] || { [ \"$cmd\" = run ] && [[ $cur == [./]* ]]; }; then\n"
	"		COMPREPLY=($(compgen -f -- \"$cur\")); return\n"
	"	elif [[ $prev =~ ^(-i|--input|-o|--output|--env-file|--ca-certs)$ || $cmd == 'image import' ]]; then\n"
	"		COMPREPLY=($(compgen -f -- \"$cur\")); return\n"
	"	else case $cmd in\n"
	"		image|registry|system) words=$(msb \"$cmd\" 2>/dev/null | sed -n \"s/^  $cmd "
	"\\([a-z]\\{1,\\}\\) .*/\\1/p\") ;;\n"
	"		completion) words=bash ;;\n"
	"		registry\\ log*) words=$(msb registry ls 2>/dev/null | sed '1d; s/ .*//') ;;\n"
	"		run|pull|rmi|save|image\\ inspect|image\\ rm|image\\ save|image\\ pull) words=$(msb images -q "
	"2>/dev/null) ;;\n"
	"	esac; fi\n"
	"	COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	"	type __ltrim_colon_completions >/dev/null 2>&1 && __ltrim_colon_completions \"$cur\"\n"
	"}\n"
	"complete -F _msb msb\n";

int command_completion(int argc, char **argv)
{
	static const struct command help = { "completion", "Print a script that completes msb's commands and options.",
					     "bash", NULL };
	struct error err = ERROR_INIT;
	struct parsed p;

	if (parse_options(NULL, 0, 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, NULL, 0);
		return 0;
	}
	if (p.word_count != 1 || p.extra_count || strcmp(p.words[0], "bash") != 0) {
		err_set(&err, ERR_USAGE, 0, "completion: expected bash");
		err_hint(&err, "eval \"$(msb completion bash)\"");
		return usage_error(&err);
	}
	fputs(bash_script, stdout);
	return 0;
}

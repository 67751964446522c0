/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/macros.h"
#include "cli/cli.h"

/* What can stand where comes from msb itself (complete.c), asked when TAB is pressed. */
static const char bash_script[] =
	"# msb completion for bash: eval \"$(msb completion bash)\"\n"
	"_msb() {\n"
	"	local line=${COMP_LINE:0:COMP_POINT} breaks= cur prefix= word about words\n"
	"	read -ra words <<<\"$line\"\n"
	"	[[ $line == *[[:space:]] ]] && words+=('')\n"
	"	cur=${words[-1]}\n"
	"	# Readline replaces only what is behind the last of these.\n"
	"	[[ $COMP_WORDBREAKS == *:* ]] && breaks+=:\n"
	"	[[ $COMP_WORDBREAKS == *=* ]] && breaks+==\n"
	"	[[ -n $breaks && $cur == *[$breaks]* ]] && prefix=${cur%\"${cur##*[$breaks]}\"}\n"
	"	COMPREPLY=()\n"
	"	while IFS=$'\\t' read -r word about; do\n"
	"		case $word in\n"
	"		:files)\n"
	"			compopt -o filenames 2>/dev/null\n"
	"			mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- \"${cur#--*=}\") ;;\n"
	"		\"$cur\"*) COMPREPLY+=(\"${word#\"$prefix\"}\") ;;\n"
	"		esac\n"
	"	done < <(msb __complete \"${words[@]:1}\" 2>/dev/null)\n"
	"}\n"
	"complete -F _msb msb\n";

static const char zsh_script[] =
	"#compdef msb\n"
	"# msb completion for zsh: eval \"$(msb completion zsh)\" behind compinit, or a file _msb in $fpath\n"
	"_msb() {\n"
	"	local -a found\n"
	"	local word about files=\n"
	"	while IFS=$'\\t' read -r word about; do\n"
	"		if [[ $word == :files ]]; then files=1; continue; fi\n"
	"		found+=(\"${word//:/\\\\:}${about:+:$about}\")\n"
	"	done < <(msb __complete \"${(@Q)words[2,CURRENT-1]}\" \"${(Q)PREFIX}\" 2>/dev/null)\n"
	"	(( $#found )) && _describe msb found\n"
	"	if [[ -n $files ]]; then\n"
	"		[[ $PREFIX == --*=* ]] && compset -P '*='\n"
	"		_files\n"
	"	fi\n"
	"}\n"
	"if [[ $funcstack[1] == _msb ]]; then _msb \"$@\"; else compdef _msb msb; fi\n";

static const char fish_script[] = "# msb completion for fish: msb completion fish | source\n"
				  "function __msb_complete\n"
				  "	set -l words (commandline -opc)\n"
				  "	set -l typed (commandline -ct)\n"
				  "	set -e words[1]\n"
				  "	for line in (msb __complete $words \"$typed\" 2>/dev/null)\n"
				  "		if test \"$line\" = :files\n"
				  "			set -l option (string match -r -- '^--[^=]*=' \"$typed\")\n"
				  "			set -l path (string replace -r -- '^--[^=]*=' '' \"$typed\")\n"
				  "			printf '%s\\n' \"$option\"(__fish_complete_path \"$path\")\n"
				  "		else\n"
				  "			printf '%s\\n' $line\n"
				  "		end\n"
				  "	end\n"
				  "end\n"
				  "complete -c msb -f -a '(__msb_complete)'\n";

static const struct shell {
	const char *name, *script;
} shells[] = {
	{ "bash", bash_script },
	{ "zsh", zsh_script },
	{ "fish", fish_script },
};

int command_completion(int argc, char **argv)
{
	static const struct command help = { "completion",
					     "Print a script that completes commands, options, images and sandboxes.",
					     "SHELL",
					     "SHELL is one of these; what to write where:\n"
					     "  bash    eval \"$(msb completion bash)\" in ~/.bashrc\n"
					     "  zsh     eval \"$(msb completion zsh)\" in ~/.zshrc, behind compinit\n"
					     "  fish    msb completion fish | source in ~/.config/fish/config.fish\n" };
	struct error err = ERROR_INIT;
	struct parsed p;

	if (parse_options(NULL, 0, 1, argc, argv, &p, &err) < 0)
		return usage_error(&err);
	if (p.help) {
		print_help(&help, NULL, 0);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(shells) && p.word_count == 1 && !p.extra_count; i++) {
		if (strcmp(p.words[0], shells[i].name) == 0) {
			fputs(shells[i].script, stdout);
			return 0;
		}
	}
	if (p.extra_count)
		err_set(&err, ERR_USAGE, 0, "completion: unexpected \"%.100s\"", p.extra[0]);
	else if (p.word_count)
		err_set(&err, ERR_USAGE, 0, "completion: there is none for \"%.100s\"", p.words[0]);
	else
		err_set(&err, ERR_USAGE, 0, "completion: for which shell?");
	err_hint(&err, "msb completion bash, zsh or fish");
	return usage_error(&err);
}

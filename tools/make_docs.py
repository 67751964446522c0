#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What people and programs read about msb's commands, made from its own tables (msb __tables).

make_docs.py MSB             write references/cli-reference.md and the table of SKILL.md
make_docs.py MSB --check     are they what they would be? Exit status 1 when not
make_docs.py MSB --man DIR   write msb.1 and a page for each command into DIR
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[1]
REFERENCE, SKILL = TOP / "references/cli-reference.md", TOP / "SKILL.md"
BEGIN, END = "<!-- made by tools/make_docs.py: options -->\n", "<!-- end -->\n"
EXIT = [("0", "it worked; for run: what the command in the guest ended with"), ("1", "it failed"),
        ("2", "the command line is wrong"), ("125", "run: msb itself failed"),
        ("126", "run: the program cannot be executed"), ("127", "run: there is no such program in the guest"),
        ("130", "stopped by Ctrl-C"), ("128+N", "run: the command was ended by signal N")]
WHERE = [("MSB_HOME", "the folder of all state (~/.microsandbox)"), ("MSB_HYPERVISOR", "auto, kvm or qemu"),
         ("MSB_LIBKRUNFW_PATH", "another guest kernel"), ("MSB_QEMU_PATH", "another QEMU"),
         ("MSB_CONFIG_PATH", "another config.json than that of MSB_HOME"), ("NO_COLOR", "no colours")]


def flags(option, mark=""):
    """-m, --memory SIZE; mark goes around the words to be typed as they are."""
    names = ([f"-{option['short']}"] if "short" in option else []) + [f"--{option['name']}"]
    names = ", ".join(f"{mark}{n}{mark}" for n in names)
    return names + (f" {option['value']}" if "value" in option else "")


def groups(commands):
    """Title and commands of each part of msb --help, in its order."""
    out = {}
    for c in commands:
        if "group" in c:
            out.setdefault(c["group"], []).append(c)
    return out.items()


def other_names(commands, name):
    return [c["name"] for c in commands if c.get("alias_of") == name]


def cell(text):
    return text.replace("|", "\\|")


def option_table(options):
    lines = ["| option | what it does |", "|---|---|"]
    for o in options:
        again = " (repeatable)" if o.get("repeatable") else ""
        lines.append(f"| `{cell(flags(o))}` | {cell(o['help'])}{again} |")
    return "\n".join(lines) + "\n"


def reference(commands):
    out = ["# msb: all commands\n\nMade from msb's own tables by tools/make_docs.py; `msb COMMAND --help` says the same.\n"]
    for title, members in groups(commands):
        out.append(f"\n## {title}\n")
        for c in members:
            out.append(f"\n### msb {c['name']}\n\n{c['summary']}\n\n```\nmsb {c['name']} {c['usage']}".rstrip() + "\n```\n")
            others = other_names(commands, c["name"])
            if others:
                out.append("\nAlso: " + ", ".join(f"`msb {n}`" for n in others) + "\n")
            if c["options"]:
                out.append("\n" + option_table(c["options"]))
            if "details" in c:
                out.append(f"\n```\n{c['details']}```\n")
    out.append("\n## Exit status\n\n| status | when |\n|---|---|\n")
    out += [f"| {code} | {text} |\n" for code, text in EXIT]
    out.append("\n## Environment\n\n| variable | what it does |\n|---|---|\n")
    out += [f"| `{name}` | {text} |\n" for name, text in WHERE]
    return "".join(out)


def skill(commands):
    """SKILL.md is written by hand but for the options of run."""
    run = next(c for c in commands if c["name"] == "run")
    head, rest = SKILL.read_text().split(BEGIN)
    return head + BEGIN + option_table(run["options"]) + END + rest.split(END)[1]


def unknown_lines(commands):
    """Lines typed in SKILL.md that name a command or an option which msb does not have."""
    blocks = re.findall(r"^```\n(.*?)^```", SKILL.read_text(), flags=re.M | re.S)
    options = {c["name"]: {f"--{o['name']}" for o in c.get("options", [])} |
               {f"-{o['short']}" for o in c.get("options", []) if "short" in o} for c in commands}
    for line in "".join(blocks).splitlines():
        typed = re.search(r"(?:^|\| )msb ((?!--version)[^#]*)", line)
        words = typed[1].split(" -- ")[0].split() if typed else []
        name = next((n for n in (" ".join(words[:2]), " ".join(words[:1])) if n in options), None)
        if typed and (name is None or any(w.split("=")[0] not in options[name] for w in words if w.startswith("-"))):
            yield line


def roff(text):
    """Text as roff takes it: no minus that becomes a hyphen, no line that looks like a request."""
    return re.sub(r"^([.'])", r"\\&\1", text.replace("\\", "\\e").replace("-", "\\-"), flags=re.M)


def page(name, brief, version):
    return f'.\\" Made from msb\'s own tables by tools/make_docs.py\n.TH {name.upper()} 1 "" "msb {version}"\n.SH NAME\n' \
           f"{roff(name)} \\- {roff(brief)}\n"


def definitions(title, pairs):
    return f".SH {title}\n" + "".join(f".TP\n.B {roff(a)}\n{roff(b)}\n" for a, b in pairs)


def page_name(command):
    return "msb-" + command["name"].replace(" ", "-")


def command_page(c, commands, version):
    out = page(page_name(c), c["brief"], version)
    out += f".SH SYNOPSIS\n.B msb {roff(c['name'])}\n{roff(c['usage'])}\n".rstrip() + f"\n.SH DESCRIPTION\n{roff(c['summary'])}\n"
    others = other_names(commands, c["name"])
    if others:
        out += ".PP\nAlso: " + roff(", ".join(f"msb {n}" for n in others)) + "\n"
    if c["options"]:
        out += definitions("OPTIONS", [(flags(o), o["help"]) for o in c["options"]])
    if "details" in c:
        out += f".SH DETAILS\n.nf\n{roff(c['details'])}.fi\n"
    return out + ".SH SEE ALSO\n.BR msb (1)\n"


def main_page(commands, version):
    out = page("msb", "runs commands in microVMs made from OCI images", version)
    out += ".SH SYNOPSIS\n.B msb\nCOMMAND [OPTIONS]\n.SH DESCRIPTION\n" \
           "Each command runs in a virtual machine of its own, with a Linux kernel of its own. Each has a page: " \
           "msb\\-run(1), msb\\-image\\-inspect(1).\n"
    for title, members in groups(commands):
        out += definitions(title.upper(), [(c["name"], c["brief"]) for c in members])
    return out + definitions('"EXIT STATUS"', EXIT) + definitions("ENVIRONMENT", WHERE)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("msb")
    args.add_argument("--check", action="store_true")
    args.add_argument("--man", type=pathlib.Path)
    args = args.parse_args()
    commands = json.loads(subprocess.run([args.msb, "__tables"], check=True, capture_output=True).stdout)
    if args.man:
        version = subprocess.run([args.msb, "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
        args.man.mkdir(parents=True, exist_ok=True)
        pages = {page_name(c): command_page(c, commands, version) for c in commands if "group" in c}
        pages["msb"] = main_page(commands, version)
        for old in args.man.glob("msb*.1"):
            if old.stem not in pages:
                old.unlink()
        for name, text in pages.items():
            (args.man / f"{name}.1").write_text(text)
        return 0
    status = 0
    if args.check:
        for line in unknown_lines(commands):
            print(f"SKILL.md: msb has no such command or option: {line}")
            status = 1
    for path, text in ((REFERENCE, reference(commands)), (SKILL, skill(commands))):
        if not args.check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{path.relative_to(TOP)} is not what msb's tables say: make docs")
            status = 1
    return status


sys.exit(main())

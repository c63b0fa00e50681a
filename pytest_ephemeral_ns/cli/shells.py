"""Completion scripts for bash, zsh and fish, out of one description; this module must never run anything.

Everything that does not change is in the script, so that only names of namespaces start a process: at most one in a few
seconds, and one that gives up soon.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

PROGRAM = "ephemeral-ns"
REMEMBERED = 5  # seconds for which a shell does not ask for names again
_TARGET = ("--context", "--kubeconfig", "--cluster")


@dataclass(frozen=True)
class Option:
    """An option as it is completed.

    Args:
        flags: its spellings.
        value: ``""`` if it takes none, else ``"choice"``, ``"file"``, ``"folder"`` or ``"other"``.
        choices: of which its value is one.
        help: one clause.
    """

    flags: tuple[str, ...]
    value: str = ""
    choices: tuple[str, ...] = ()
    help: str = ""


@dataclass(frozen=True)
class Command:
    """A command as it is completed.

    Args:
        words: ``("cluster", "up")``; ``()`` is the program itself.
        help: one clause.
        options: its options.
        below: the words that may follow.
        takes: what its arguments are: ``"names"`` of namespaces, ``"files"``, or ``""``.
        many: whether more than one argument of that kind may follow.
    """

    words: tuple[str, ...]
    help: str
    options: tuple[Option, ...]
    below: Mapping[str, str]
    takes: str = ""
    many: bool = False


def bash(commands: Sequence[Command]) -> str:
    """Return the script for bash; it needs nothing but bash 4."""
    return f"""\
# bash completion for {PROGRAM}. For this shell: source <({PROGRAM} completion bash)
# For all: {PROGRAM} completion bash > ~/.local/share/bash-completion/completions/{PROGRAM}
_ephemeral_ns_names() {{
    if [[ "${{_ephemeral_ns_of-never}}" != "$*" ]] || ((SECONDS - _ephemeral_ns_at >= {REMEMBERED})); then
        _ephemeral_ns_seen=$({PROGRAM} completion names "$@" 2>/dev/null) || _ephemeral_ns_seen=
        _ephemeral_ns_of="$*" _ephemeral_ns_at=$SECONDS
    fi
}}

_ephemeral_ns() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} i place= options= words= takes= arguments=0
    local first=2 target=() many=
    local IFS=$' \\t\\n'
    COMPREPLY=()
    [[ $prev == = ]] && prev=${{COMP_WORDS[COMP_CWORD-2]}}
    [[ $cur == = ]] && cur=
    ((COMP_CWORD > 1)) && place=${{COMP_WORDS[1]}}
    if [[ " {" ".join(_parents(commands))} " == *" $place "* ]]; then
        first=3
        ((COMP_CWORD > 2)) && place+=" ${{COMP_WORDS[2]}}"
    fi
    case $place in
{_indented(_bash_commands(commands), 8)}
    esac
    for ((i = first; i < COMP_CWORD; i++)); do
        [[ ${{COMP_WORDS[i]}} == -- ]] && return
        case "$place ${{COMP_WORDS[i]}}" in
            *" "{"|*' '".join(_TARGET)}) target+=("${{COMP_WORDS[i]}}" "${{COMP_WORDS[i+1]-}}"); i=$((i + 1)) ;;
            {_patterns(commands, _takes_value)}) i=$((i + 1)) ;;
            *" -"*) ;;
            *) arguments=$((arguments + 1)) ;;
        esac
    done
    case "$place $prev" in
{_indented(_bash_values(commands), 8)}
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
    elif [[ $takes == files ]]; then
        COMPREPLY=($(compgen -f -- "$cur"))
    elif [[ $takes == names ]] && {{ ((arguments == 0)) || [[ -n $many ]]; }}; then
        _ephemeral_ns_names ${{target[@]+"${{target[@]}}"}}
        COMPREPLY=($(compgen -W "$_ephemeral_ns_seen" -- "$cur"))
    else
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
    fi
}}
complete -F _ephemeral_ns {PROGRAM}
"""


def _indented(lines: Iterable[str], spaces: int) -> str:
    return "\n".join(" " * spaces + line for line in lines)


def _parents(commands: Sequence[Command]) -> list[str]:
    return [command.words[0] for command in commands if len(command.words) == 1 and command.below]


def _place(command: Command) -> str:
    return shlex.quote(" ".join(command.words))


def _flags(command: Command) -> list[str]:
    return [flag for option in command.options for flag in option.flags]


def _bash_commands(commands: Sequence[Command]) -> Iterator[str]:
    for command in commands:
        words = f'words="{" ".join(command.below)}" ' if command.below else ""
        takes = f"takes={command.takes} " if command.takes else ""
        many = "many=1 " if command.many else ""
        yield f'{_place(command)}) {words}{takes}{many}options="{" ".join(_flags(command))}" ;;'


def _patterns(commands: Sequence[Command], wanted: Callable[[Option], bool]) -> str:
    """Return a pattern of "COMMAND OPTION", for the options that are wanted."""
    hits = [(c, flag) for c in commands for option in c.options if wanted(option) for flag in option.flags]
    return "|".join(shlex.quote(" ".join([*command.words, flag])) for command, flag in hits)


def _takes_value(option: Option) -> bool:
    return bool(option.value)


def _has(option: Option, **wanted: object) -> bool:
    return all(getattr(option, name) == value for name, value in wanted.items())


def _bash_values(commands: Sequence[Command]) -> Iterator[str]:
    sets = sorted({option.choices for command in commands for option in command.options if option.choices})
    for choices in sets:
        pattern = _patterns(commands, partial(_has, choices=choices))
        yield f'{pattern}) COMPREPLY=($(compgen -W "{" ".join(choices)}" -- "$cur")); return ;;'
    for value, action in (("file", "-f"), ("folder", "-d"), ("other", "")):
        reply = f'COMPREPLY=($(compgen {action} -- "$cur")); ' if action else ""
        if pattern := _patterns(commands, partial(_has, value=value)):
            yield f"{pattern}) {reply}return ;;"


def zsh(commands: Sequence[Command]) -> str:
    """Return the script for zsh."""
    return f"""\
#compdef {PROGRAM}
# zsh completion for {PROGRAM}. For this shell: source <({PROGRAM} completion zsh)
# For all: {PROGRAM} completion zsh > a folder of $fpath, as _{PROGRAM}
_ephemeral_ns_names() {{
    local -a target
    local i
    for ((i = 2; i < $#words; i++)); do
        [[ $words[i] == ({"|".join(_TARGET)}) ]] && target+=($words[i] $words[i+1])
    done
    if [[ "${{_ephemeral_ns_of-never}}" != "$target" ]] || ((SECONDS - _ephemeral_ns_at >= {REMEMBERED})); then
        typeset -ga _ephemeral_ns_seen
        _ephemeral_ns_seen=(${{(f)"$({PROGRAM} completion names $target 2>/dev/null)"}})
        typeset -g _ephemeral_ns_of="$target" _ephemeral_ns_at=$SECONDS
    fi
    compadd -a _ephemeral_ns_seen
}}

_ephemeral_ns() {{
    local place=${{words[2]-}} base=2
    local -a below
    if [[ " {" ".join(_parents(commands))} " == *" $place "* ]] && ((CURRENT > 3)); then
        place+=" $words[3]" base=3
    fi
    ((CURRENT == 2)) && place=
    case $place in
{_indented(_zsh_commands(commands), 8)}
    esac
}}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _ephemeral_ns "$@"; else compdef _ephemeral_ns {PROGRAM}; fi
"""


def _zsh_commands(commands: Sequence[Command]) -> Iterator[str]:
    for command in commands:
        yield f"{_place(command)})"
        if command.below:
            rows = " ".join(shlex.quote(f"{word}:{help}") for word, help in command.below.items())
            yield f"    below=({rows}); _describe command below ;;"
            continue
        specs = [spec for option in command.options for spec in _zsh_option(option)]
        if command.takes:
            action = {"names": "_ephemeral_ns_names", "files": "_files"}[command.takes]
            specs.append(f"{'*' if command.many else '1'}:{command.takes}:{action}")
        yield "    shift $((base - 1)) words; ((CURRENT -= base - 1))"
        yield f"    _arguments {' '.join(map(shlex.quote, specs))} ;;"


def _zsh_option(option: Option) -> Iterator[str]:
    help = option.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
    action = {"file": ":file:_files", "folder": ":folder:_files -/", "other": ":value: "}.get(option.value, "")
    if option.choices:
        action = f":value:({' '.join(option.choices)})"
    for flag in option.flags:
        yield f"*{flag}[{help}]{action}"


def fish(commands: Sequence[Command]) -> str:
    """Return the script for fish."""
    return f"""\
# fish completion for {PROGRAM}. For this shell: {PROGRAM} completion fish | source
# For all: {PROGRAM} completion fish > ~/.config/fish/completions/{PROGRAM}.fish
function __ephemeral_ns_names
    set -l words (commandline -opc)
    set -l target
    for i in (seq 2 (count $words))
        contains -- $words[$i] {" ".join(_TARGET)}; and set -a target $words[$i] $words[(math $i + 1)]
    end
    {PROGRAM} completion names $target 2>/dev/null
end
function __ephemeral_ns_at
    set -l words (commandline -opc)
    set -e words[1]
    test (count $words) -ge (count $argv); or return 1
    for i in (seq (count $argv))
        test "$words[$i]" = "$argv[$i]"; or return 1
    end
end
complete -c {PROGRAM} -f
{chr(10).join(line for command in commands for line in _fish_command(command))}
"""


def _fish_command(command: Command) -> Iterator[str]:
    place = f"-n {shlex.quote(' '.join(['__ephemeral_ns_at', *command.words]))}" if command.words else ""
    if command.below:
        depth = len(command.words) + 1
        at = f"__ephemeral_ns_at {' '.join(command.words)}; and " if command.words else ""
        only = shlex.quote(f"{at}test (count (commandline -opc)) -eq {depth}")
        for word, help in command.below.items():
            yield f"complete -c {PROGRAM} -n {only} -a {word} -d {shlex.quote(help)}"
    for option in command.options:
        flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
        value = {"": "", "file": "-r -F", "folder": "-x -a '(__fish_complete_directories)'"}.get(option.value, "-x")
        if option.choices:
            value = f"-x -a {shlex.quote(' '.join(option.choices))}"
        words = (f"complete -c {PROGRAM}", place, flags, value, f"-d {shlex.quote(option.help)}")
        yield " ".join(word for word in words if word)
    if command.takes:
        what = {"names": "-a '(__ephemeral_ns_names)'", "files": "-F"}[command.takes]
        yield f"complete -c {PROGRAM} {place} {what}"

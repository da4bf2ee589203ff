"""`completion`: what makes a shell complete the verbs and options of `segadapt`; files elsewhere.

segadapt completion bash > ~/.local/share/bash-completion/completions/segadapt
segadapt completion zsh > ~/.segadapt.zsh      and in ~/.zshrc, after compinit: source ~/.segadapt.zsh
segadapt completion fish > ~/.config/fish/completions/segadapt.fish
"""

import argparse
from collections.abc import Iterator, Mapping

from pipeline.artifacts.program import SCRIPT
from pipeline.commands.verbs import VERBS, options_of

SHELLS = ("bash", "zsh", "fish")
Options = Mapping[str, list[argparse.Action]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("shell", choices=SHELLS)


def execute(arguments: argparse.Namespace) -> int:
    """Print the shell's lines."""
    options: Options = {verb: options_of(verb) for verb in VERBS}
    print("\n".join({"bash": bash, "zsh": zsh, "fish": fish}[arguments.shell](options)))
    return 0


def bash(options: Options) -> Iterator[str]:
    """A function of bash: verbs first, an option's choices behind it, options behind a dash, else files."""
    yield f"_{SCRIPT}() {{"
    yield '    local word=${COMP_WORDS[COMP_CWORD]} words=""'
    yield "    if (( COMP_CWORD == 1 )); then"
    yield f'        words="{" ".join(options)} --help --version"'
    yield '    else case "${COMP_WORDS[1]} ${COMP_WORDS[COMP_CWORD-1]} $word" in'
    for verb, actions in options.items():
        names = [name for action in actions for name in action.option_strings]
        yield f'        "{verb} "*" -"*) words="{" ".join([*names, "--help"])}" ;;'
        for action in actions:
            if action.choices:
                before = "|".join(f'"{verb} {name} "*' for name in action.option_strings or [verb])
                yield f'        {before}) words="{" ".join(action.choices)}" ;;'
    yield "    esac fi"
    yield '    COMPREPLY=($(compgen -W "$words" -- "$word"))'
    yield "}"
    yield f"complete -o default -F _{SCRIPT} {SCRIPT}"


def zsh(options: Options) -> Iterator[str]:
    """Bash's function, which zsh takes too."""
    yield "autoload -U +X bashcompinit && bashcompinit"
    yield from bash(options)


def fish(options: Options) -> Iterator[str]:
    """One line for each verb and each option."""
    for verb, text in VERBS.items():
        yield f"complete -c {SCRIPT} -n __fish_use_subcommand -f -a {verb} -d {_quoted(text)}"
    for verb, actions in options.items():
        behind = f"complete -c {SCRIPT} -n '__fish_seen_subcommand_from {verb}'"
        for action in actions:
            names = " ".join(f"-l {name.removeprefix('--')}" for name in action.option_strings)
            chosen = f" -x -a '{' '.join(action.choices)}'" if action.choices else ""
            takes = "" if action.nargs == 0 or chosen or not names else " -r"
            if names or chosen:
                yield f"{behind} {names}{takes}{chosen} -d {_quoted(_help(action))}"


def _help(action: argparse.Action) -> str:
    return (action.help or action.dest) % vars(action)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

"""The entry point of `eetui` and `python -m eetui`."""

import os
import sys

from eetui import __version__


def main() -> None:
    """Run the command line; `--version` alone, and most completions, are answered without importing it."""
    if sys.argv[1:] == ["--version"]:
        from eetui.cli.streams import lasting

        with lasting():
            print(f"eetui {__version__}")
    elif not _completed():
        from eetui.cli.main import main as command_line  # Typer takes 50 ms, a command's options 70 more

        command_line()


def _completed() -> bool:
    """Answer a shell that completes a value, without Typer; return whether that is done."""
    if os.environ.get("_EETUI_COMPLETE") not in ("complete_bash", "complete_zsh", "complete_fish"):
        return False
    from eetui.cli.completing import answer

    told = answer(os.environ)
    if told is not None and os.environ.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        sys.exit(0 if told else 1)
    if told:
        print(told)
    return told is not None


if __name__ == "__main__":
    main()

"""The entry point of `eetui` and `python -m eetui`."""

import sys

from eetui import __version__


def main() -> None:
    """Run the command line; `--version` alone is answered without importing it."""
    if sys.argv[1:] == ["--version"]:
        from eetui.cli.streams import lasting

        with lasting():
            print(f"eetui {__version__}")
    else:
        from eetui.cli.main import main as command_line  # Typer takes 50 ms, a command's options 70 more

        command_line()


if __name__ == "__main__":
    main()

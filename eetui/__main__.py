"""What `eetui` and `python -m eetui` start."""

import sys

from eetui import __version__


def main() -> None:
    """Say the version, which takes no command line to parse, or leave it all to the command line."""
    if sys.argv[1:] == ["--version"]:
        print(f"eetui {__version__}")
    else:
        from eetui.cli.main import main as command_line  # Typer takes 50 ms, and 70 more for a command's options

        command_line()


if __name__ == "__main__":
    main()

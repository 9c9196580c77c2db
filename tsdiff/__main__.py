"""``python -m tsdiff``: the command line."""

from tsdiff.cli.app import main

if __name__ == "__main__":
    main()

"""`python -m taskd`, the same as `taskd`."""

from taskd.cli import main

if __name__ == "__main__":
    main()

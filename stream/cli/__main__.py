"""`python -m stream.cli` is `enforcer`."""

from .entry import main

if __name__ == "__main__":
    main()

"""`python -m potoserver`."""

from potoserver.cli import main

if __name__ == "__main__":
    main()

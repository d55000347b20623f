"""`python -m consort_orchestrator.cli`: the command, however it was installed."""

from consort_orchestrator.cli import main

if __name__ == "__main__":
    main()

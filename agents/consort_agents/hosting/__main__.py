"""`python -m consort_agents.hosting FILE`: the tools of a file as a process of their own."""

from consort_agents.hosting.process import main

if __name__ == "__main__":
    main()

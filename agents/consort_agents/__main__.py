"""`python -m consort_agents module:agent`: one agent as a process of its own."""

from consort_agents.process import main

if __name__ == "__main__":
    main()

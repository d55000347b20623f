"""A fake of the Messages API that answers from a script, for tests and for work without a key.

    async with serving(load_script("rules.yaml")) as fake:
        ...  # ANTHROPIC_BASE_URL=fake.url in any process
        assert fake.distinct() == 12

`client` gives the same in this process, without a port. `consort dev fake-llm rules.yaml`
serves it as a process of its own. Importing this loads no web server.
"""

from consort_agents.fake_llm.record import Asking, Record
from consort_agents.fake_llm.serving import Fake, client, serving
from consort_agents.models.script import Script
from consort_agents.models.script_files import ScriptError, load_script, read_script

__all__ = [
    "Asking",
    "Fake",
    "Record",
    "Script",
    "ScriptError",
    "client",
    "load_script",
    "read_script",
    "serving",
]

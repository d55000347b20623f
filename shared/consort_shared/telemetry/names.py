"""Names of spans' attributes: the field's where it has them, Consort's own below `consort.`.

Messaging: OpenTelemetry semantic conventions 1.44, messaging spans. There is no
registered value of `messaging.system` for NATS; `nats` is what others use.
GenAI: semantic-conventions-genai as of October 2026, all of it in development, which
is why the names stand here and nowhere else.
"""

from __future__ import annotations

SCOPE = "consort"
"""The instrumentation scope of Consort's spans."""

MESSAGING_SYSTEM = "messaging.system"
NATS = "nats"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
DESTINATION_TEMPLATE = "messaging.destination.template"
CONSUMER_GROUP = "messaging.consumer.group.name"
CONVERSATION = "messaging.message.conversation_id"
BODY_SIZE = "messaging.message.body.size"
CLIENT_ID = "messaging.client.id"

GENAI_OPERATION = "gen_ai.operation.name"
GENAI_CONVERSATION = "gen_ai.conversation.id"
WORKFLOW_NAME = "gen_ai.workflow.name"
AGENT_NAME = "gen_ai.agent.name"
AGENT_VERSION = "gen_ai.agent.version"
AGENT_DESCRIPTION = "gen_ai.agent.description"
CALLER_TYPE = "gen_ai.caller.type"
CALLER_NAME = "gen_ai.caller.name"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_write.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
TRANSFER_TARGET = "gen_ai.transfer.target.name"
TRANSFER_MODE = "gen_ai.transfer.mode"

ERROR_TYPE = "error.type"

RUN = "consort.run.id"
PLAN = "consort.plan.name"
CLIENT = "consort.client"
STATE = "consort.run.state"
GOAL = "consort.goal"
ENTRY = "consort.entry.number"
FACTS = "consort.entry.facts"
CAUSES = "consort.entry.causes"
WRITER = "consort.orchestrator.instance"
STEP = "consort.step.path"
SKILL = "consort.skill"
TASK = "consort.task"
ATTEMPT = "consort.attempt"
REASON = "consort.assignment.reason"
TROUBLE = "consort.retry.reason"
OUTCOME = "consort.outcome"
INSTANCE = "consort.agent.instance"
CONTEXT_READ = "consort.context.read"
PRIORS = "consort.handoff.priors"
DELIVERY = "consort.delivery.count"
QUEUE_WAIT = "consort.queue.wait"
CLOCK_SKEW = "consort.clock.skew"
"""Seconds by which a task was begun before it was stored: the clocks of two machines differ at least by that."""
SEQUENCE = "consort.stream.sequence"
SECONDS = "consort.work.seconds"
CALL = "consort.call"
"""Which of its task's calls of models and tools it is, from 1."""
REPLAYED = "consort.replayed"
"""The call was not made again: a process before this one made it, and its answer is on record."""
RETRY = "consort.retry"
"""An event of a call: it was refused, and is asked again after `DELAY` seconds."""
DELAY = "consort.retry.delay"
REQUEST_ID = "consort.provider.request_id"
RISK = "consort.tool.risk"
SAVED = "consort.tool.saved"
HOST = "consort.tool.host"
"""The tool host whose process made the call."""
PROFILE = "consort.profile.revision"
COST = "consort.cost"
"""US dollars, as far as prices are known."""
UNPRICED = "consort.calls.unpriced"
MODEL_CALLS, REPLAYED_CALLS, TOOL_CALLS = (
    "consort.calls.model",
    "consort.calls.replayed",
    "consort.calls.tool",
)
INPUTS, OUTPUT = "consort.inputs", "consort.output"
"""Redacted excerpts, only where capturing content is switched on."""
LINK = "consort.link"
"""On a link: what the other span is to this one."""

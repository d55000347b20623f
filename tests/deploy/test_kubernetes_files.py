"""The manifests: kinds and required fields, names that must agree with each other and with the code, commands.

J5, J6: an agent's processes are scaled on the backlog of its consumer, under the names that the code gives.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_kit import COMPOSE, check_command

from consort_agents.process import main as agents_main
from consort_bus.keys import ACCOUNT_NAME
from consort_bus.subjects import LOG, agent_consumer_name

FOLDER = COMPOSE / "kubernetes"
KINDS = {
    "Namespace": "v1",
    "Job": "batch/v1",
    "Deployment": "apps/v1",
    "PodDisruptionBudget": "policy/v1",
    "ScaledObject": "keda.sh/v1alpha1",
    "TriggerAuthentication": "keda.sh/v1alpha1",
}
OPTIONAL = ("writer-scaling.yaml", "tool-host.yaml")
"""Manifests that are named in a comment, to be taken up by whoever wants them."""
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
TEXT = (FOLDER / "kustomization.yaml").read_text()
MANIFESTS: list[dict[str, Any]] = [
    document
    for file in sorted(FOLDER.glob("*.yaml"))
    if file.name not in ("kustomization.yaml", "nats-values.yaml")
    for document in yaml.safe_load_all(file.read_text())
]
ROLES = {
    "bus setup": "provisioner",
    "tools approve": "provisioner",
    "orchestrator start": "orchestrator",
    "agent start": "agent",
    "tools start": "toolhost",
}
WORKLOADS = [document for document in MANIFESTS if document["kind"] in ("Deployment", "Job")]


def of(kind: str, name: str) -> dict[str, Any]:
    [found] = [one for one in MANIFESTS if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


def environment() -> dict[str, str]:
    [generated] = KUSTOMIZATION["configMapGenerator"]
    return dict(literal.split("=", 1) for literal in generated["literals"])


def ids(document: dict[str, Any]) -> str:
    return f"{document['kind']}-{document['metadata']['name']}"


def test_every_manifest_is_of_a_kind_that_exists_and_is_used() -> None:
    for document in MANIFESTS:
        assert document["apiVersion"] == KINDS[document["kind"]]
        assert document["metadata"]["name"].startswith("consort")
    resources = {FOLDER / name for name in KUSTOMIZATION["resources"]}
    others = {FOLDER / name for name in ("kustomization.yaml", "nats-values.yaml", *OPTIONAL)}
    assert set(FOLDER.glob("*.yaml")) == resources | others
    for name in OPTIONAL:
        assert f"# - {name}" in TEXT


def test_with_its_comments_taken_up_it_is_whole() -> None:
    """The tool host, its files and the model's key are there for whoever takes the lines up."""
    whole = yaml.safe_load(
        re.sub(r"(?m)^(  )# (- name: consort-(?:tools|words|model)|  files:)", r"\1\2", TEXT)
    )
    made = {one["name"]: one["files"] for one in whole["secretGenerator"]}
    assert made["consort-words"] == ["creds=creds/toolhost.words.creds"]
    assert made["consort-model"] == ["model=creds/model", "key=creds/anthropic-key"]
    [tools] = [one for one in whole["configMapGenerator"] if one["name"] == "consort-tools"]
    assert {one.partition("=")[0] for one in tools["files"]} == {
        path.name for path in (COMPOSE / "tools").iterdir() if path.is_file()
    }


def test_kubectl_puts_them_together(tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl on this machine")
    here = shutil.copytree(FOLDER, tmp_path / "kubernetes", ignore=shutil.ignore_patterns("creds"))
    for secret in KUSTOMIZATION["secretGenerator"]:
        for file in secret["files"]:
            path = here / file.partition("=")[2]
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{path.name}\n")
    told = subprocess.run([kubectl, "kustomize", str(here)], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    made = list(yaml.safe_load_all(told.stdout))
    assert {one["metadata"].get("namespace", "consort") for one in made} == {"consort"}
    secrets = {one["metadata"]["name"] for one in made if one["kind"] == "Secret"}
    assert secrets == {one["name"] for one in KUSTOMIZATION["secretGenerator"]}
    for workload in (one for one in made if one["kind"] in ("Deployment", "Job")):
        [container] = pod(workload)["containers"]
        assert container["image"].rpartition(":")[2] == KUSTOMIZATION["images"][0]["newTag"]


@pytest.mark.parametrize("workload", WORKLOADS, ids=ids)
def test_a_workload_reads_its_own_credentials_and_can_do_no_harm(workload: dict[str, Any]) -> None:
    spec = pod(workload)
    [container] = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == 10001
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"]
    assert container["resources"]["limits"]["memory"]
    assert container["envFrom"] == [
        {"configMapRef": {"name": KUSTOMIZATION["configMapGenerator"][0]["name"]}}
    ]

    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(volumes) == set(mounts)
    secret = volumes["creds"]["secret"]
    role = ROLES[" ".join(container["args"][:2])]
    named = "consort-setup" if role == "provisioner" else workload["metadata"]["name"]
    assert secret["secretName"] == named
    assert secret["defaultMode"] == 0o440
    assert container["env"][0] == {"name": "CONSORT_CREDS", "value": f"{mounts['creds']}/creds"}
    file = re.search(rf"name: {named}\n *#? *files: \[creds=(\S+)\]", TEXT)
    assert file is not None
    assert file[1].startswith(f"creds/{role}.")
    if role == "agent":
        assert file[1] == f"creds/agent.{container['args'][2]}.creds"


@pytest.mark.parametrize("workload", WORKLOADS, ids=ids)
def test_only_agents_are_given_the_key_of_the_model(workload: dict[str, Any]) -> None:
    """S36: from a secret that need not be there."""
    [container] = pod(workload)["containers"]
    given = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"][1:]}
    if container["args"][0] != "agent":
        assert given == {}
        return
    assert set(given) == {"CONSORT_MODEL", "ANTHROPIC_API_KEY"}
    assert all((one["name"], one["optional"]) == ("consort-model", True) for one in given.values())


@pytest.mark.parametrize("workload", WORKLOADS, ids=ids)
def test_the_commands_exist(workload: dict[str, Any]) -> None:
    [container] = pod(workload)["containers"]
    check_command(["consort", *container["args"]])


@pytest.mark.parametrize("workload", [one for one in WORKLOADS if one["kind"] == "Deployment"], ids=ids)
def test_labels_ports_and_times_agree(workload: dict[str, Any]) -> None:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert workload["metadata"]["labels"].items() <= labels.items()
    for constraint in pod(workload).get("topologySpreadConstraints", ()):
        assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()
    [grace] = [option.default for option in agents_main.params if option.name == "grace"]
    assert pod(workload)["terminationGracePeriodSeconds"] >= float(grace) + 10
    [container] = pod(workload)["containers"]
    port = environment()["CONSORT_HEALTH_PORT"]
    assert container["ports"] == [{"name": "health", "containerPort": int(port)}]
    assert environment()["CONSORT_HEALTH_HOST"] == "0.0.0.0"
    for probe, path in (
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ):
        assert container[probe]["httpGet"] == {"path": path, "port": "health"}
    annotations = workload["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == port


def test_a_disruption_leaves_an_orchestrator() -> None:
    budget, deployment = (
        of("PodDisruptionBudget", "consort-orchestrator"),
        of("Deployment", "consort-orchestrator"),
    )
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    assert budget["spec"]["minAvailable"] < deployment["spec"]["replicas"]


def test_the_backlog_that_scales_an_agent_is_that_of_its_consumer() -> None:
    """J6: stream, consumer and account are called what the code calls them."""
    scaled = of("ScaledObject", "consort-writer")["spec"]
    deployment = of("Deployment", scaled["scaleTargetRef"]["name"])
    [container] = pod(deployment)["containers"]
    [trigger] = scaled["triggers"]
    told = trigger["metadata"]
    assert trigger["type"] == "nats-jetstream"
    assert told["stream"] == LOG
    assert told["consumer"] == agent_consumer_name(container["args"][2])
    assert told["account"] == ACCOUNT_NAME
    assert int(told["lagThreshold"]) > 0
    assert int(told["activationLagThreshold"]) >= 0
    assert all(isinstance(value, str) for value in told.values())  # as KEDA demands
    assert scaled["minReplicaCount"] >= 1  # tasks are given to agents that are there

    authentication = of("TriggerAuthentication", trigger["authenticationRef"]["name"])
    [secret] = authentication["spec"]["secretTargetRef"]
    assert secret["parameter"] == "accountID"
    [generated] = [one for one in KUSTOMIZATION["secretGenerator"] if one["name"] == secret["name"]]
    assert generated["files"] == [f"{secret['key']}=creds/account"]


def test_the_bus_is_found_where_its_chart_puts_it() -> None:
    """The chart's values name the secret with the servers' lines, and services are named as processes expect."""
    values = yaml.safe_load((FOLDER / "nats-values.yaml").read_text())
    name, namespace = values["fullnameOverride"], KUSTOMIZATION["namespace"]
    assert environment()["CONSORT_SERVER"] == f"nats://{name}.{namespace}.svc.cluster.local:4222"
    [trigger] = of("ScaledObject", "consort-writer")["spec"]["triggers"]
    monitor = f"{name}-headless.{namespace}.svc.cluster.local:{values['config']['monitor']['port']}"
    assert trigger["metadata"]["natsServerMonitoringEndpoint"] == monitor
    config = values["config"]
    assert config["cluster"]["enabled"]
    assert config["cluster"]["replicas"] == 3
    assert "password" not in config["cluster"]["routeURLs"]
    assert config["jetstream"]["merge"]["sync_interval"] == "always"
    [volume] = [patch["value"] for patch in values["podTemplate"]["patch"]]
    [mount] = [patch["value"] for patch in values["container"]["patch"]]
    assert volume["name"] == mount["name"]
    [generated] = [
        one for one in KUSTOMIZATION["secretGenerator"] if one["name"] == volume["secret"]["secretName"]
    ]
    file = generated["files"][0].partition("=")[0]
    assert config["merge"]["$include"] == f"..{mount['mountPath'].removeprefix('/etc')}/{file}"
    assert json.dumps(values).count("latest") == 0

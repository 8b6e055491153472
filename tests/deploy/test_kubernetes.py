"""The jobs for Kubernetes: its schemas accept them, and they act on exit codes as they should."""

import pathlib
import re

import kubernetes_validate
import pytest
import yaml

from pipeline.cli.parser import build_parser

FOLDER = pathlib.Path(__file__).parents[2] / "deploy" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
JOBS = [path for path in FILES if "kind: CronJob" in path.read_text()]
# The first version in which a CronJob has all fields that are used here, and the last one known.
VERSIONS = ("1.29", kubernetes_validate.latest_version())


def load(path):
    return yaml.safe_load(path.read_text())


def job_of(path):
    return load(path)["spec"]["jobTemplate"]["spec"]


def containers(path):
    pod = job_of(path)["template"]["spec"]
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_kubernetes_knows_every_field(path, version):
    kubernetes_validate.validate(load(path), version, strict=True)


def test_the_schema_is_strict():
    wrong = load(JOBS[0])
    wrong["spec"]["concurencyPolicy"] = "Forbid"
    with pytest.raises(kubernetes_validate.ValidationError, match="concurencyPolicy"):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_runs_do_not_pile_up_and_end(path):
    spec = load(path)["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["startingDeadlineSeconds"] >= 60
    assert 3600 <= job_of(path)["activeDeadlineSeconds"] < 24 * 3600
    assert job_of(path)["backoffLimit"] > 0


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_exit_codes(path):
    job = job_of(path)
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # podFailurePolicy needs it
    rules = job["podFailurePolicy"]["rules"]
    names = {each["name"] for each in containers(path)}
    final = {}
    for rule in rules:
        if codes := rule.get("onExitCodes"):
            assert rule["action"] == "FailJob"
            assert codes["operator"] == "In"
            of = codes.get("containerName")
            assert of is None or of in names
            for name in [of] if of else names:
                final.setdefault(name, set()).update(codes["values"])
    expected = {name: {1, 2} if name == "verify" else {2} for name in names}
    assert final == expected
    ignored = [rule["onPodConditions"] for rule in rules if rule["action"] == "Ignore"]
    assert ignored == [[{"type": "DisruptionTarget", "status": "True"}]]


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_commands_parse(path):
    for container in containers(path):
        python, m, module, *words = [*container["command"], *container["args"]]
        assert [python, m, module] == ["python", "-m", "pipeline"]
        _, unknown = build_parser().parse_known_args(words)
        assert not unknown


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_pods_need_no_root(path):
    """The user of the Dockerfile, and a file system that only /tmp of can be written."""
    dockerfile = (FOLDER.parents[1] / "Dockerfile").read_text()
    (uid,) = re.findall(r"useradd --uid (\d+)", dockerfile)
    pod = job_of(path)["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == int(uid)
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["serviceAccountName"] == load(FOLDER / "service-account.yaml")["metadata"]["name"]
    for container in containers(path):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert not security["allowPrivilegeEscalation"]
        assert {"name": "HOME", "value": "/tmp"} in container["env"]
        assert container["resources"]["limits"]["memory"]


def test_the_gpu_variant_differs_only_where_it_must():
    cpu, gpu = (load(FOLDER / f"nightly-{kind}.yaml") for kind in ("cpu", "gpu"))
    assert cpu["metadata"] == gpu["metadata"]  # so that one replaces the other
    pod = gpu["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["image"].endswith(":gpu")
    assert pod.pop("nodeSelector")
    assert pod.pop("tolerations")
    (plain,) = cpu["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    for name in ("image", "resources"):
        container[name] = plain[name]
    assert gpu == cpu

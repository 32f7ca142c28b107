"""The manifests against the schemas of Kubernetes, and against each other; no cluster is needed."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from distributed import Client

from research_lib.__main__ import main
from research_lib.config import PROJECT_ROOT
from research_lib.reporting import load_grid

FOLDER = PROJECT_ROOT / "deploy" / "kubernetes"
OVERLAYS = {"once": "report.yaml", "nightly": "report.yaml", "copy": "pod.yaml"}
VERSIONS = ("1.28", "1.34")  # a CronJob's time zone is stable since 1.27
HEALTH = ["python", "-m", "research_lib", "health"]
WITH_PODS = ("Deployment", "Job", "CronJob", "Pod")
OUTER_LIMIT = 300  # seconds; what is waited for takes a few, this only keeps a hang from lasting
Manifest = dict[str, Any]


def _documents(path: Path) -> list[Manifest]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def _manifests(*files: str) -> list[Manifest]:
    return [one for file in files for one in _documents(FOLDER / file)]


def _kustomization(folder: str) -> Manifest:
    return dict(yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text()))


BASE = _manifests(*(f"base/{file}" for file in _kustomization("base")["resources"]))
RUNS = _manifests(*(f"overlays/{overlay}/{file}" for overlay, file in OVERLAYS.items()))
NAMED = {f"{one['kind']}/{one['metadata']['name']}": one for one in BASE + RUNS}


def _pod(manifest: Manifest) -> Manifest:
    spec = manifest["spec"]
    if manifest["kind"] == "Pod":
        return {"metadata": {"labels": {}, **manifest["metadata"]}, "spec": spec}
    template = (
        spec["jobTemplate"]["spec"]["template"]
        if manifest["kind"] == "CronJob"
        else spec["template"]
    )
    return dict(template)


PODS = {name: _pod(one) for name, one in NAMED.items() if one["kind"] in WITH_PODS}


def _containers() -> Iterator[Manifest]:
    for pod in PODS.values():
        yield from pod["spec"]["containers"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", NAMED)
def test_each_manifest_is_as_the_schema_says(name: str, version: str) -> None:
    assert kubernetes_validate.validate(NAMED[name], version, strict=True) == version


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "replica"), 3),
        (("spec", "replicas"), "three"),
        (
            ("spec", "template", "spec", "containers", 0, "livenessProbe", "exec", "command"),
            "health",
        ),
        (("spec", "template", "spec", "containers", 0, "resources", "limit"), {"cpu": "2"}),
    ],
)
def test_the_schema_would_refuse_a_misspelt_or_mistyped_field(
    path: tuple[Any, ...], value: object
) -> None:
    broken = copy.deepcopy(NAMED["Deployment/dask-worker"])
    inner: Any = broken
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_every_manifest_is_listed_and_every_listed_file_is_there() -> None:
    files = {path.name for path in (FOLDER / "base").iterdir()} - {"kustomization.yaml"}
    base = _kustomization("base")
    generated = {
        file
        for one in base["configMapGenerator"]
        for file in [*one.get("envs", []), *one.get("files", [])]
    }
    assert files == {*base["resources"], *generated}
    release = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]["version"]
    for overlay, file in OVERLAYS.items():
        content = _kustomization(f"overlays/{overlay}")
        assert content["resources"] == ["../../base", file]
        assert content["images"] == [{"name": "research-lib", "newTag": release}]
        assert content["labels"] == base["labels"]


def test_three_workers_with_the_resources_and_probes_that_were_asked_for() -> None:
    worker = NAMED["Deployment/dask-worker"]
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    assert worker["spec"]["replicas"] == 3
    assert container["resources"] == {
        "requests": {"cpu": "1", "memory": "2Gi"},
        "limits": {"cpu": "2", "memory": "4Gi"},
    }
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        # A full disk or a missing mount makes a worker not ready; a restart would only lose its
        # runs.
        assert container[probe]["exec"]["command"] == HEALTH + ["--alive"] * (
            probe == "livenessProbe"
        )
        assert (
            container[probe]["timeoutSeconds"] >= 60
        )  # ten times what it takes on an idle machine


def test_what_is_referred_to_exists() -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in PODS.items()}
    for name in ("Deployment/dask-scheduler", "Deployment/dask-worker"):
        assert NAMED[name]["spec"]["selector"]["matchLabels"] == labels[name]
    service = NAMED["Service/dask-scheduler"]["spec"]
    assert service["selector"] == labels["Deployment/dask-scheduler"]
    (ports,) = (c["ports"] for c in PODS["Deployment/dask-scheduler"]["spec"]["containers"])
    assert [port["targetPort"] for port in service["ports"]] == [port["name"] for port in ports]
    address = f"tcp://dask-scheduler:{service['ports'][0]['port']}"
    maps = {one["name"] for one in _kustomization("base")["configMapGenerator"]}
    claims = {one["metadata"]["name"] for one in BASE if one["kind"] == "PersistentVolumeClaim"}
    for name, pod in PODS.items():
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        used = {
            v["persistentVolumeClaim"]["claimName"]
            for v in volumes.values()
            if "persistentVolumeClaim" in v
        }
        used_maps = {v["configMap"]["name"] for v in volumes.values() if "configMap" in v}
        assert used <= claims
        for container in pod["spec"]["containers"]:
            used_maps |= {one["configMapRef"]["name"] for one in container.get("envFrom", [])}
            assert {mount["name"] for mount in container.get("volumeMounts", [])} == set(volumes)
            if name not in ("Deployment/dask-scheduler", "Pod/copy"):
                assert address in [*container.get("command", []), *container.get("args", [])]
        assert used_maps <= maps


def test_no_pod_is_root_or_holds_a_token_or_more_than_its_limits() -> None:
    (user,) = {line.split()[1] for line in _dockerfile() if line.startswith("USER")}
    for pod in PODS.values():
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True
        assert f"{context['runAsUser']}:{context['runAsGroup']}" == user
        assert pod["spec"]["automountServiceAccountToken"] is False
    for container in _containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]["limits"]) == {"cpu", "memory"}


def _dockerfile() -> list[str]:
    return (PROJECT_ROOT / "deploy" / "Dockerfile").read_text().splitlines()


def test_the_nightly_run_is_the_run_made_once() -> None:
    assert PODS["Job/report"] == PODS["CronJob/report"]
    assert NAMED["CronJob/report"]["spec"]["concurrencyPolicy"] == "Forbid"


@pytest.mark.slow
def test_the_commands_of_scheduler_and_worker_make_a_cluster(tmp_path: Path) -> None:
    """The containers' own commands, on this machine under a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    local = {
        "dask-scheduler:8786": address,
        "8786": address.split(":")[1],
        "/scratch": str(tmp_path),
    }
    processes = []
    try:
        for name in ("scheduler", "worker"):
            (container,) = PODS[f"Deployment/dask-{name}"]["spec"]["containers"]
            command = [_replaced(part, local) for part in container["command"]]
            assert command[:2] == ["dask", name]
            command[0] = str(Path(sys.executable).with_name("dask"))
            processes.append(
                subprocess.Popen(
                    command, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True
                )
            )
        with Client(f"tcp://{address}", timeout=OUTER_LIMIT) as client:
            client.wait_for_workers(2, timeout=OUTER_LIMIT)
            workers = client.scheduler_info()["workers"].values()
            assert [one["nthreads"] for one in workers] == [1, 1]
            assert [one["memory_limit"] for one in workers] == [1_800_000_000] * 2
            assert client.submit(sum, [1, 2]).result(timeout=OUTER_LIMIT) == 3
    finally:
        for process in reversed(processes):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with contextlib.suppress(
                ProcessLookupError
            ):  # also where a caller's mask blocks SIGTERM; with its children
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_the_run_is_a_call_that_the_command_line_takes_of_a_grid_that_can_be_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (container,) = PODS["Job/report"]["spec"]["containers"]
    arguments = container["args"]
    assert _after("--grid", arguments) == "/etc/research/grid.yml"
    assert _after("--scheduler", arguments) == "tcp://dask-scheduler:8786"
    absent = str(
        tmp_path / "grid.yml"
    )  # so that nothing runs: what the parser does not take would be refused before
    assert main([_replaced(part, {"/etc/research/grid.yml": absent}) for part in arguments]) == 2
    assert f"settings file {absent} does not exist" in capsys.readouterr().err
    runs = load_grid(FOLDER / "base" / "grid.yml")
    assert len({run.name for run in runs}) == 12
    assert not any(run.section_data(one) for run in runs for one in run.parameters)


def test_what_a_worker_s_pod_may_use_is_below_its_limit_and_said_beside_it() -> None:
    """MB, the processes at rest as measured (unshared pages: 58 + 7, 182, 75; probes 238 + 24),
    rounded up.
    """
    nanny, at_rest, beside_kernel, probes = 70, 200, 100, 350
    (run,) = (pod["args"] for pod in PODS["Job/report"]["spec"]["containers"])
    notebook = float(_after("--memory-limit", run))
    (worker,) = PODS["Deployment/dask-worker"]["spec"]["containers"]
    given = dict(part.split("=") for part in worker["command"] if "=" in part)
    n, own = int(given["--nworkers"]), int(given["--memory-limit"].removesuffix("MB"))
    limit = int(worker["resources"]["limits"]["memory"].removesuffix("Gi")) * 2**30 / 1e6
    fits, notebooks = (
        nanny + probes + n * one for one in (own, at_rest + beside_kernel + notebook)
    )
    assert (
        max(fits, notebooks) <= limit - n * 100
    )  # a notebook's memory is looked at five times a second
    comment = (FOLDER / "base" / "worker.yaml").read_text()
    assert (
        f"70 (their nanny) + 350 (probes) + {n} x {own:,} = {fits:,} of {limit:,.0f} (4Gi)"
        in comment
    )
    assert f"(200), the process beside its kernel (100) and a notebook ({notebook:,.0f}:" in comment
    assert own == at_rest + beside_kernel + notebook


def _after(option: str, arguments: list[str]) -> str:
    return arguments[arguments.index(option) + 1]


def _replaced(part: str, words: dict[str, str]) -> str:
    for word, other in words.items():
        part = part.replace(word, other)
    return part


@pytest.mark.slow
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_renders_manifests_that_are_as_the_schema_says(overlay: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed; the manifests themselves were validated")
    done = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER / "overlays" / overlay)],
        capture_output=True,
        text=True,
        check=True,
    )
    rendered = list(yaml.safe_load_all(done.stdout))
    assert len(rendered) == len(BASE) + 1 + 2  # the overlay's own, and two generated ConfigMaps
    maps = {one["metadata"]["name"] for one in rendered if one["kind"] == "ConfigMap"}
    for one in rendered:
        kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
        if one["kind"] in WITH_PODS:
            pod = _pod(one)
            assert pod["metadata"]["labels"]["app.kubernetes.io/part-of"] == "research-lib"
            for container in pod["spec"]["containers"]:
                assert ":" in container["image"]
                assert {ref["configMapRef"]["name"] for ref in container.get("envFrom", [])} <= maps


def test_a_run_ends_by_itself_and_is_not_repeated() -> None:
    for spec in (
        NAMED["Job/report"]["spec"],
        NAMED["CronJob/report"]["spec"]["jobTemplate"]["spec"],
    ):
        assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 28800)
    assert "--strict" in PODS["CronJob/report"]["spec"]["containers"][0]["args"]

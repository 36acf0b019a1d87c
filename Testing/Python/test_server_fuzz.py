"""Fuzzing of the server from its own description: whatever comes, it answers with what it says it answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import one_of

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("schemathesis")

import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from backend_cases import posix
from MMLNRegistrationLib.backend.job_requests import JOBS
from server_cases import TOKEN, Server

pytestmark = posix

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
EXAMPLES = 25


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    shared = Server(tmp_path_factory.mktemp("fuzzed"), "--upload-mib", 1, "--grace-seconds", 0)
    yield shared
    assert shared.process.poll() is None
    shared.stop()
    log = "\n".join(shared.lines)
    assert "Traceback" not in log, log


def test_answers_as_described(server):
    interface = schemathesis.openapi.from_url(f"{server.address}/openapi.json", headers=HEADERS)
    operations = [found.ok() for found in interface.get_all_operations()]
    assert len(operations) == 9
    for operation in operations:
        _fuzz(operation)


def _fuzz(operation: schemathesis.APIOperation) -> None:
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    strategies = [operation.as_strategy(generation_mode=mode) for mode in modes]

    @given(case=one_of(strategies))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def answers(case: schemathesis.Case) -> None:
        response = case.call(headers=HEADERS, timeout=20)
        case.validate_response(
            response, checks=[not_a_server_error, status_code_conformance, content_type_conformance], headers=HEADERS
        )
        if response.status_code >= 400:
            assert response.json()["sentence"]

    answers()


def test_description_names_every_address(server):
    described = server.ask("GET", "/openapi.json").message
    assert sorted(described["paths"]) == [
        "/v1/jobs/{key}",
        "/v1/jobs/{key}/cancel",
        "/v1/jobs/{key}/events",
        "/v1/jobs/{key}/files/{name}",
        "/v1/status",
        "/v1/uploads/{key}",
    ]
    assert described["security"] == [{"token": []}]
    kinds = described["paths"]["/v1/jobs/{key}"]["put"]["requestBody"]["content"]["application/json"]["schema"]
    assert [kind["title"] for kind in kinds["oneOf"]] == list(JOBS)

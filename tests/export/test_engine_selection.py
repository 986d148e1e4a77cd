"""Which engine an export takes: the fastest that passes, in few runs, and the same one again without measuring."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from generators import random_generator

from engines.contract.arrays import AnyArray
from engines.contract.closing import Closing
from engines.contract.errors import EngineError, VerificationError
from engines.contract.tensors import DType, Signature, TensorSpec
from engines.model_directory import EngineName, Precision
from export import selection
from export.build import build_generator
from export.engine_choices import EngineChoices, choice_key
from export.graphs.generator import onnx_from_generator
from export.networks.generator import generator_from_weights
from export.selection import Candidate, select_engine
from export.targets import ExportOptions
from export.verification import Sample

Pair = tuple[EngineName, Precision]
FAST: Pair = ("winograd", "int16")
SLOWER: Pair = ("winograd", "fp32")
SLOWEST: Pair = ("onnxruntime", "fp32")
SIGNATURE = Signature((TensorSpec("w", DType.FLOAT32, (2,)),), (TensorSpec("image", DType.FLOAT32, (2,)),))
SAMPLES = [Sample({"w": np.ones((size, 2), np.float32)}, np.arange(2.0)[None].repeat(size, 0)) for size in (1, 2)]


class Clock:
    """The module ``time`` of a machine on which nothing but fake engines takes time."""

    def __init__(self) -> None:
        self.seconds = self.processor_seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds

    def process_time(self) -> float:
        return self.processor_seconds


class FakeEngine(Closing):
    """An engine that takes the next of its times for each run, then the last one, and gives the reference's output.

    ``processor_seconds`` is its processor time; without it, as much as it takes.
    """

    signature = SIGNATURE
    clock: Clock

    def __init__(self, seconds: list[float], error: float = 0.0, processor_seconds: float | None = None) -> None:
        self.seconds, self.error, self.processor_seconds = [*seconds], error, processor_seconds
        self.batches: list[int] = []
        self.closed = False

    def run(self, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        assert not self.closed
        self.batches.append(len(inputs["w"]))
        seconds = self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        self.clock.seconds += seconds
        self.clock.processor_seconds += self.processor_seconds or seconds
        return {"image": np.arange(2.0)[None].repeat(len(inputs["w"]), 0) + self.error}

    def close(self) -> None:
        self.closed = True


Select = Callable[..., tuple[Candidate, tuple[Candidate, ...]]]


@pytest.fixture
def select(monkeypatch: pytest.MonkeyPatch) -> Select:
    """``select_engine`` with fake engines by engine and precision; None stands for one that cannot load the model."""
    clock = Clock()
    monkeypatch.setattr(selection, "time", clock)
    monkeypatch.setattr(selection, "ROUND_SECONDS", 0.05)
    monkeypatch.setattr(selection, "SECOND_CHANCE", 0.05)

    def run(engines: dict[Pair, FakeEngine | None], known: Pair | None = None) -> tuple[Candidate, ...]:
        def load(model: Path, signature: Signature, *pair: object, plans: None) -> FakeEngine:
            engine = engines[pair]  # type: ignore[index]
            if engine is None:
                raise EngineError("it", got="a graph it cannot read", expected="another", remedy="none")
            engine.clock = clock
            return engine

        monkeypatch.setattr(selection, "engine_from_onnx", load)
        return select_engine(Path("m.onnx"), SIGNATURE, SAMPLES, "all", [*engines], lambda _: None, known=known)  # type: ignore[return-value]

    return run  # type: ignore[return-value]


def test_the_fastest_engine_that_passes_is_chosen(select: Select) -> None:
    wrong = FakeEngine([0.001], error=1.0)
    engines = {FAST: wrong, SLOWER: FakeEngine([0.004]), SLOWEST: FakeEngine([0.006])}
    chosen, tried = select(engines)
    assert (chosen.engine, chosen.precision) == SLOWER
    assert [candidate.passed for candidate in tried] == [False, True, True]
    assert all(engine.closed for engine in engines.values())


def test_of_two_that_are_about_as_fast_the_more_exact_one_is_chosen(select: Select) -> None:
    chosen, _ = select({FAST: FakeEngine([0.01], error=1e-3), SLOWER: FakeEngine([0.0102])})
    assert (chosen.engine, chosen.precision) == SLOWER


def test_a_busy_moment_decides_nothing(select: Select) -> None:
    engines = {FAST: FakeEngine([0.05, 0.05, 0.002]), SLOWER: FakeEngine([0.006])}
    chosen, _ = select(engines)
    assert (chosen.engine, chosen.precision) == FAST


def test_of_two_that_seem_about_as_fast_beside_other_load_the_one_with_less_work_is_chosen(select: Select) -> None:
    chosen, _ = select({FAST: FakeEngine([0.0104], 1e-3, 0.004), SLOWER: FakeEngine([0.01], processor_seconds=0.005)})
    assert (chosen.engine, chosen.precision) == FAST


def test_an_engine_that_is_much_slower_is_given_up_before_it_is_verified_whole(select: Select) -> None:
    slow = FakeEngine([0.06])
    chosen, tried = select({FAST: FakeEngine([0.003]), SLOWEST: slow})
    assert (chosen.engine, chosen.precision) == FAST
    assert slow.batches == [1, 1]
    assert tried[1].verification.inputs == "the first of all"


def test_a_slow_first_run_is_no_reason_to_give_an_engine_up(select: Select) -> None:
    chosen, _ = select({SLOWER: FakeEngine([0.008]), FAST: FakeEngine([0.2, 0.002])})
    assert (chosen.engine, chosen.precision) == FAST


def test_what_was_chosen_before_is_verified_and_nothing_else_is_tried(select: Select) -> None:
    chosen, tried = select({SLOWER: FakeEngine([0.001]), FAST: FakeEngine([0.004])}, known=FAST)
    assert (chosen.engine, chosen.precision) == FAST
    assert len(tried) == 1


@pytest.mark.parametrize("known", [FakeEngine([0.001], error=1.0), None])
def test_what_was_chosen_before_and_fails_now_is_not_chosen_again(select: Select, known: FakeEngine | None) -> None:
    chosen, _ = select({SLOWER: FakeEngine([0.004]), FAST: known}, known=FAST)
    assert (chosen.engine, chosen.precision) == SLOWER


def test_a_single_candidate_is_run_for_its_verification_only(select: Select) -> None:
    engine = FakeEngine([0.001])
    select({FAST: engine})
    assert engine.batches == [1, 2]


def test_the_error_names_the_best_of_the_engines_that_fail(select: Select) -> None:
    with pytest.raises(VerificationError, match="winograd fp32"):
        select({FAST: FakeEngine([0.001], error=2.0), SLOWER: FakeEngine([0.001], error=1.0)})


def test_an_architecture_is_measured_once_on_a_machine(tmp_path: Path) -> None:
    weights, choices = random_generator(8), EngineChoices(tmp_path / "cache/engines.json")
    tried = []
    for number, network in enumerate((weights, random_generator(8, seed=1), random_generator(8, 9))):
        options = ExportOptions(tmp_path / f"m{number}", "m", precision="fp32", choices=choices)
        manifest = build_generator(network, [], options, lambda _: None)
        tried.append(len(manifest.details["engines_tried"]))
    assert tried[1] == 1, "the second one has the same architecture"
    assert tried[0] == tried[2] > 1


@pytest.mark.parametrize("content", ["", "[]", "{", '{"key": 1}', '{"key": ["a"]}', '{"key": ["a", 2]}', "[" * 10000])
def test_a_damaged_file_of_choices_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    choices = EngineChoices(tmp_path / "engines.json")
    (tmp_path / "engines.json").write_text(content)
    assert choices.get("key") is None
    choices.remember("key", FAST)
    assert choices.get("key") == FAST


def test_choices_that_cannot_be_stored_cost_no_export(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    EngineChoices(tmp_path / "file/engines.json").remember("key", FAST)
    EngineChoices().remember("key", FAST)
    assert EngineChoices().get("key") is None


def test_the_oldest_choices_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.engine_choices.MAX_CHOICES", 2)
    choices = EngineChoices(tmp_path / "engines.json")
    for key in ("a", "b", "a", "c"):
        choices.remember(key, FAST)
    assert [*json.loads((tmp_path / "engines.json").read_text())] == ["a", "c"]


def test_a_choice_holds_for_the_same_shapes_candidates_and_versions_only() -> None:
    signature = Signature((), ())
    models = [onnx_from_generator(generator_from_weights(random_generator(8, n)), signature) for n in (8, 9)]
    keys = {
        choice_key("generator", models[0], [FAST], {"onnx": "1"}),
        choice_key("generator", models[1], [FAST], {"onnx": "1"}),
        choice_key("generator", models[0], [FAST, SLOWER], {"onnx": "1"}),
        choice_key("generator", models[0], [FAST], {"onnx": "2"}),
        choice_key("encoder", models[0], [FAST], {"onnx": "1"}),
    }
    assert len(keys) == 5

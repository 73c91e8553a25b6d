from __future__ import annotations

import pytest

from lockgate.compiler.pipeline import ContractError, Level, PassBroken, Pipeline, compiler_pass


def refuse_negative(number: int) -> None:
    if number < 0:
        raise ValueError("negative")


LEVEL: Level[int] = Level("number", refuse_negative, str)


@compiler_pass()
def add_one(number: int) -> int:
    """n + 1."""
    return number + 1


@compiler_pass(after={"add_one": "so that there is something to double"})
def double(number: int) -> int:
    """2 n."""
    return 2 * number


@compiler_pass()
def negate(number: int) -> int:
    """-n."""
    return -number


def test_passes_run_in_the_order_of_the_table() -> None:
    seen: list[tuple[str, int]] = []
    result = Pipeline(LEVEL, (add_one, double)).run(3, observe=lambda name, ir: seen.append((name, ir)))
    assert result.ir == 8
    assert seen == [("input", 3), ("add_one", 4), ("double", 8)]
    assert [name for name, _ in result.seconds] == ["add_one", "double"]


def test_passes_can_be_skipped_and_fuel_runs_out() -> None:
    pipeline = Pipeline(LEVEL, (add_one, double))
    assert pipeline.run(3, skip=frozenset({"add_one"})).ir == 6
    assert pipeline.run(3, fuel=1).ir == 4
    with pytest.raises(KeyError, match="no such pass: tripple"):
        pipeline.run(3, skip=frozenset({"tripple"}))


def test_a_broken_result_names_the_pass_and_carries_both_texts() -> None:
    with pytest.raises(PassBroken, match="pass `negate` broke the program: negative") as caught:
        Pipeline(LEVEL, (add_one, negate)).run(3)
    assert (caught.value.pass_name, caught.value.before, caught.value.after) == ("negate", "4", "-4")
    assert Pipeline(LEVEL, (negate,)).run(3, verify=False).ir == -3


def test_a_bad_input_is_not_blamed_on_a_pass() -> None:
    with pytest.raises(ValueError, match="negative"):
        Pipeline(LEVEL, (add_one,)).run(-1)


def test_an_order_against_the_constraints_is_refused_with_the_reason() -> None:
    with pytest.raises(ContractError, match="`double` must stand after `add_one`: so that"):
        Pipeline(LEVEL, (double, add_one))
    with pytest.raises(ContractError, match="twice"):
        Pipeline(LEVEL, (add_one, add_one))


def test_a_function_that_is_no_pass_is_refused() -> None:
    def changes_type(number: int) -> str:
        """Not a pass."""
        return str(number)

    def silent(number: int) -> int:
        return number

    with pytest.raises(ContractError, match="same type"):
        compiler_pass()(changes_type)  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="no docstring"):
        compiler_pass()(silent)

"""What lies in `examples/imported` is what its commands write today, and compiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.cli import main
from lockgate.compiler.diagnostics import Severity, Sink
from tests import engines

FOLDER = Path(__file__).parents[2] / "examples" / "imported"
COMMANDS = {
    "rules.gate": ("iptables-save", "rules.v4", "sets", "--device", "eth0"),
    "cluster.gate": ("kubernetes", "cluster.yaml"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_writes_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    out = tmp_path / name
    with pytest.raises(SystemExit) as stopped:
        main(["import", *COMMANDS[name], "-o", str(out)])
    assert stopped.value.code == 0
    assert out.read_text() == (FOLDER / name).read_text()
    sink = Sink()
    engines.load(out.read_text(), {}, sink)
    assert not [d for d in sink.diagnostics if d.severity is Severity.ERROR]

"""The benchmark of exports measures a preset in each format once, and says which do not act as their policies do."""

from __future__ import annotations

import json
import sys

import pytest

import exports


@pytest.mark.slow
def test_what_is_measured_is_not_measured_again(monkeypatch, capsys, tmp_path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    monkeypatch.setattr(exports, "RESULTS", tmp_path / "exports.json")
    monkeypatch.setattr(exports, "NUM_OBSERVATIONS", 20)
    monkeypatch.setattr(exports, "FORMATS", {name: exports.FORMATS[name] for name in ("onnx", "int8")})
    monkeypatch.setattr(exports, "known_presets", lambda: {"discrete_bc", "bc"})
    monkeypatch.setattr(sys, "argv", ["exports.py"])
    for expected in (["bc", "bc", "discrete_bc", "discrete_bc"], []):
        exports.main()
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == expected
    results = json.loads((tmp_path / "exports.json").read_text())
    assert results["bc"]["onnx"]["holds"] and not results["bc"]["int8"]["holds"]
    assert (tmp_path / "exports.md").read_text().count("| bc |") == 2
    results["bc"]["onnx"]["holds"] = False
    (tmp_path / "exports.json").write_text(json.dumps(results))
    with pytest.raises(SystemExit, match="other actions than the policy's: bc"):
        exports.main()

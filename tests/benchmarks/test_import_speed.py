"""benchmarks/import_speed.py: a small run."""
import json

from benchmarks import import_speed


def test_a_small_import_is_measured(capsys):
    import_speed.main(['--videos', '3'])
    found = json.loads(capsys.readouterr().out)
    assert found['videos'] == 3 and found['processor_seconds'] > 0 and found['of_loading_modules'] > 0
